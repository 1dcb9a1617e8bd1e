"""One finding, one number: what the SEG, the SR, the Observations and the card say, side by side."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from consilium.demo.material import Json, Material
from consilium.demo.stages import Outcome

LONG_AXIS, CERTAINTY, CANCER = "103339001", "111012", "111047"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The findings as each encoding tells them: (size, unit, certainty in percent), most certain first.

    malignancy: probability in percent of each lesion that a model assesses, largest first.
    problems: where two encodings differ; truth_found: lesions put in that lie in a segment, of how many.
    """

    observations: tuple[tuple[float, str, float], ...]
    report: tuple[tuple[float, str, float], ...]
    segments: int
    problems: tuple[str, ...]
    truth_found: tuple[int, int] | None
    malignancy: tuple[float, ...] = ()

    @property
    def agrees(self) -> bool:
        """True when every encoding tells the same findings."""
        return not self.problems


def agreement(outcome: Outcome, material: Material) -> Agreement:
    """Compare what came out of the different doors."""
    observations = sorted((_of_observation(one) for one in outcome.observations), key=lambda row: -row[2])
    report = sorted(_of_report(outcome.sr), key=lambda row: -row[2]) if outcome.sr is not None else []
    segments = len(outcome.seg.SegmentSequence) if outcome.seg is not None else 0
    problems = []
    if observations != report:
        problems.append(f"the Observations say {observations}, the SR says {report}")
    if segments != len(observations):
        problems.append(f"{segments} segments for {len(observations)} Observations")
    if len(outcome.report.get("result", [])) != len(observations):
        problems.append("the DiagnosticReport does not list every Observation")
    if observations and not any(str(observations[0][0]) in card.get("detail", "") for card in outcome.cards):
        problems.append("no card shows the first finding's size")
    malignancy = _malignancy(outcome)
    if len(set(malignancy.values())) > 1:
        problems.append(f"the probability of malignancy differs: {malignancy}")
    return Agreement(
        tuple(observations),
        tuple(report),
        segments,
        tuple(problems),
        _truth_found(outcome, material),
        malignancy["RiskAssessment"],
    )


def _malignancy(outcome: Outcome) -> dict[str, tuple[float, ...]]:
    """Return the probabilities of malignancy by where they stand, largest first."""
    said = {
        "RiskAssessment": [each["prediction"][0]["probabilityDecimal"] for each in outcome.risks],
        "Observation": [
            part["valueQuantity"]["value"]
            for each in outcome.observations
            for part in each.get("component", [])
            if part["code"]["coding"][0]["code"] == CANCER
        ],
        "SR": [
            float(item.MeasuredValueSequence[0].NumericValue)
            for group in (_containers(outcome.sr, "125007") if outcome.sr is not None else [])
            for item in group.ContentSequence
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == CANCER
        ],
    }
    return {where: tuple(sorted(map(float, values), reverse=True)) for where, values in said.items()}


def _of_observation(observation: Json) -> tuple[float, str, float]:
    values: dict[str, Json] = {}
    for component in observation.get("component", []):
        for coding in component["code"]["coding"]:
            values[coding["code"]] = component.get("valueQuantity", {})
    size = values.get(LONG_AXIS, {})
    return float(size["value"]), str(size["code"]), float(values[CERTAINTY]["value"])


def _of_report(sr: Dataset) -> list[tuple[float, str, float]]:
    rows: list[tuple[float, str, float]] = []
    for group in _containers(sr, "125007"):
        numbers = {
            item.ConceptNameCodeSequence[0].CodeValue: item.MeasuredValueSequence[0]
            for item in group.ContentSequence
            if item.ValueType == "NUM"
        }
        if LONG_AXIS not in numbers:  # the statement that there is no finding
            continue
        size, certainty = numbers[LONG_AXIS], numbers[CERTAINTY]
        unit = str(size.MeasurementUnitsCodeSequence[0].CodeValue)
        rows.append((float(size.NumericValue), unit, float(certainty.NumericValue)))
    return rows


def _containers(item: Dataset, code: str) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", []):
        if child.ValueType == "CONTAINER" and child.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(child)
        found += _containers(child, code)
    return found


def _truth_found(outcome: Outcome, material: Material) -> tuple[int, int] | None:
    if material.truth is None:
        return None
    if outcome.seg is None:
        return 0, len(material.truth)
    frames = outcome.seg.pixel_array
    anywhere = np.any(frames.reshape(-1, *frames.shape[-2:]), axis=0)
    hits = sum(bool(anywhere[round(row), round(column)]) for row, column, _ in material.truth)
    return hits, len(material.truth)
