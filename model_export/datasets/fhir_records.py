"""Charts that a user brings: FHIR R4 Bundles (`*.json`) or Bulk Data files (`*.ndjson`) with `labels.csv`.

    patient,label[,at]
    p1,1,2024-03-01
    Patient/p2,0,2024-05-17

patient: Patient.id. label: 1 for the outcome. at: when the question would have been asked (date, or date and time
with zone); what the chart holds from later is not read, because it would tell the answer. Without `at` the whole
chart counts.

Features come from the code that the server runs (`fhir_adapters.features`), so that a model trained here sees in
training what it will see at the bedside: units converted, newest value in the look-back, refused values missing.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput
from fhir_adapters.features.diabetes_risk import FeatureRow, feature_row
from fhir_adapters.features.elements import instant, objects, word
from fhir_adapters.strict_json import load_object
from model_export.datasets import table
from model_export.datasets.folders import folder_digest
from model_export.datasets.splits import Groups, united
from model_export.datasets.table import ZERO_ONE, Choice, Row
from model_runtime.tasks.risk import Feature

NAME = "fhir_records"
FILE = "labels.csv"
LAYOUT = (f"{FILE}#label",)
LICENCE = "that of your data"
CITATION = "your own data"
LABEL = Choice("label", ZERO_ONE)
MAX_FILE_BYTES = 64 * 1024 * 1024  # of one Bundle, and of one line of NDJSON
_PATIENT = re.compile(r"(?:^|/)Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")
Resource = Mapping[str, Any]
Reader = Callable[[Iterable[Resource], Sequence[Feature], datetime], FeatureRow]


@dataclass(frozen=True, slots=True)
class Chart:
    """One labelled patient. now: the time that the features are read at; later values do not count."""

    patient: str
    resources: tuple[Resource, ...]
    outcome: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Records:
    """Labelled rows for training.

    features: float64 (n, features) in the order asked for, NaN = missing. groups: rows that must stay together in
        a split: one patient, also under several ids that share an identifier. unlabelled: patients left out.
    """

    patient: tuple[str, ...]
    features: NDArray[np.float64]
    outcome: NDArray[np.bool_]
    groups: Groups
    unlabelled: int
    sha256: str


def load(folder: Path, features: Sequence[Feature], now: datetime, reader: Reader = feature_row) -> Records:
    """Return one row a line of `labels.csv`, its features read as the server reads them.

    features: as in the manifest of the model. now: for lines without `at`. reader: the model's feature code.

    Raises IncorrectInput with file and line for what is no FHIR JSON, no label, or a patient without chart.
    """
    found, patients = charts(folder, now)
    rows = [reader(chart.resources, features, chart.now).values for chart in found]
    return Records(
        patient=tuple(chart.patient for chart in found),
        features=np.array([[row[feature.name] for feature in features] for row in rows], np.float64),
        outcome=np.array([chart.outcome for chart in found]),
        groups=_groups(found),
        unlabelled=patients - len({chart.patient for chart in found}),
        sha256=folder_digest(folder),
    )


def charts(folder: Path, now: datetime) -> tuple[list[Chart], int]:
    """Return the labelled charts in the order of `labels.csv`, and how many patients the folder holds in all."""
    by_patient = _by_patient(folder)
    rows = table.read(folder / FILE, ["patient", LABEL.name])
    return [_chart(row, by_patient, now) for row in rows], len(by_patient)


def _chart(row: Row, by_patient: Mapping[str, Sequence[Resource]], now: datetime) -> Chart:
    patient = row.text("patient").removeprefix("Patient/")
    if patient not in by_patient:
        raise row.refused("patient", "has no Patient resource in this folder")
    asked = row.cells.get("at", "").strip()
    at = instant(asked) if asked else now
    if at is None:
        raise row.refused("at", "is no date, and no date and time with a zone")
    return Chart(patient, tuple(by_patient[patient]), LABEL.read(row) > 0, at)


def _groups(found: Sequence[Chart]) -> Groups:
    """Unite patients who share a business identifier: the same person registered twice."""
    return united([[chart.patient, *_identifiers(chart.resources)] for chart in found])


def _identifiers(resources: Iterable[Resource]) -> set[tuple[str, str]]:
    patients = [item for item in resources if item.get("resourceType") == "Patient"]
    pairs = [
        (word(item, "system"), word(item, "value")) for one in patients for item in objects(one, "identifier")
    ]
    return {(system, value) for system, value in pairs if system and value}


def _by_patient(folder: Path) -> dict[str, list[Resource]]:
    """Return the resources of each patient, the Patient first; what belongs to nobody here is left out."""
    found: dict[str, list[Resource]] = {}
    others: list[tuple[str, Resource]] = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.ndjson")]):
        resources = list(_resources(path))
        # An address such as urn:uuid:... is valid within its own Bundle only.
        known = {
            address: _add_patient(one, address, found, path) for address, one in resources if _is_patient(one)
        }
        others += [
            (known.get(_reference(one), _reference(one)), one) for _, one in resources if not _is_patient(one)
        ]
    for reference, resource in others:
        match = _PATIENT.search(reference)
        found.get(match[1] if match else reference, []).append(resource)
    return found


def _is_patient(resource: Resource) -> bool:
    return resource.get("resourceType") == "Patient"


def _add_patient(patient: Resource, address: str, found: dict[str, list[Resource]], path: Path) -> str:
    """Add a Patient under its id and return it. Two servers may both have a patient 1: they are not mixed."""
    ident = word(patient, "id") or address
    if not ident:
        raise IncorrectInput(f"{path.name}: a Patient has no id")
    earlier = found.setdefault(ident, [patient])[0]
    if _identifiers([patient]) != _identifiers([earlier]) or patient.get("birthDate") != earlier.get("birthDate"):
        raise IncorrectInput(f"{path.name}: another Patient has the same id; give each its own")
    return ident


def _reference(resource: Resource) -> str:
    for key in ("subject", "patient"):
        parent = resource.get(key)
        if isinstance(parent, dict):
            return word(parent, "reference")
    return ""


def _resources(path: Path) -> Iterator[tuple[str, Resource]]:
    """Yield (address, resource) of a Bundle, a single resource, or the lines of an NDJSON file."""
    if path.suffix == ".ndjson":
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield "", _object(line, f"{path.name}, line {number}")
        return
    whole = _object(path.read_bytes(), path.name)
    if whole.get("resourceType") != "Bundle":
        yield "", whole
        return
    for entry in objects(whole, "entry"):
        resource = entry.get("resource")
        if isinstance(resource, dict):
            yield word(entry, "fullUrl"), resource


def _object(data: bytes, where: str) -> Resource:
    try:
        found = load_object(data, max_bytes=MAX_FILE_BYTES)
    except IncorrectInput as problem:
        raise IncorrectInput(f"{where}: {problem.message}") from problem
    if not isinstance(found.get("resourceType"), str):
        raise IncorrectInput(f"{where}: no FHIR resource")
    return found
