"""An ImagingStudy of R4 in the form of R5, for who reads R5. The server stores and serves R4.

What moved between them: a Coding became a CodeableConcept (modality, laterality) or a CodeableReference (body
site); procedureReference and procedureCode are `procedure`, reasonCode and reasonReference are `reason`. R5 has no
interpreter: it stands in the extension that HL7 defines for what another version has (extensions for converting
between versions, http://hl7.org/fhir/[version]/StructureDefinition/extension-[path]).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clinical.errors import Unsupported
from fhir_adapters.resources.labels import Json

INTERPRETER = "http://hl7.org/fhir/4.0/StructureDefinition/extension-ImagingStudy.interpreter"
_MOVED = frozenset(
    ("modality", "procedureReference", "procedureCode", "reasonCode", "reasonReference", "interpreter", "series")
)
_MOVED_IN_SERIES = frozenset(("modality", "bodySite", "laterality"))
Resource = Mapping[str, Any]


def in_r5(study: Resource) -> Json:
    """Return an R4 ImagingStudy as R5 has it. The result shares its parts with `study`.

    A claim to conform to a profile is left out, as that is of R4. Raises Unsupported when it contains resources,
    which would be of R4 too.
    """
    if study.get("contained"):
        raise Unsupported("an ImagingStudy that contains other resources is not converted to R5")
    made = {name: value for name, value in study.items() if name not in _MOVED}
    meta = study.get("meta", {})
    if "profile" in meta:
        made = _without(made, "meta") | _some({"meta": _without(meta, "profile")})
    interpreters = [{"url": INTERPRETER, "valueReference": one} for one in study.get("interpreter", ())]
    moved = {
        "extension": [*study.get("extension", ()), *interpreters],
        "modality": [_concept(one) for one in study.get("modality", ())],
        "procedure": _references(study.get("procedureCode", ()), _listed(study.get("procedureReference"))),
        "reason": _references(study.get("reasonCode", ()), study.get("reasonReference", ())),
        "series": [_series(one) for one in study.get("series", ())],
    }
    return made | _some(moved)


def _series(series: Resource) -> Json:
    made = {name: value for name, value in series.items() if name not in _MOVED_IN_SERIES}
    moved: tuple[tuple[str, Callable[[Resource], Json]], ...] = (
        ("modality", _concept),
        ("bodySite", lambda site: {"concept": _concept(site)}),
        ("laterality", _concept),
    )
    return made | {name: change(series[name]) for name, change in moved if name in series}


def _concept(coding: Resource) -> Json:
    return {"coding": [coding]}


def _references(concepts: Iterable[Any], references: Iterable[Any]) -> list[Json]:
    """Return CodeableReferences."""
    return [*({"concept": one} for one in concepts), *({"reference": one} for one in references)]


def _listed(one: Any | None) -> list[Any]:  # noqa: ANN401 - JSON
    """Return what R4 has at most once as R5 has it."""
    return [] if one is None else [one]


def _without(value: Resource, name: str) -> Json:
    return {key: one for key, one in value.items() if key != name}


def _some(values: Mapping[str, Iterable[Any]]) -> Json:
    """Leave out what is empty: an element has a value or children (ele-1)."""
    return {name: value for name, value in values.items() if value}
