"""Local codes into standard ones, by tables that a site edits: a CSV file, ConceptMap resources (R4 4.10). Pure.

A code gains what the tables say and keeps its own. Only what means the same is added ("equal", "equivalent"): a
broader or narrower code would say something that nobody has said.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clinical import icd_10_cm
from clinical.codes import ICD_10, ICD_10_CM, LOINC, SNOMED_CT, Coding
from clinical.errors import IncorrectInput
from clinical.snomed_ct import is_sctid

Json = Mapping[str, Any]
Code = tuple[str, str]  # system, code

COLUMNS = ("system", "code", "target_system", "target_code", "target_display")
SAME = frozenset(("equal", "equivalent"))
MOST_LINES = 200_000
# Short names of table 0396 that a file may use instead of the URI.
SHORT = {
    "LN": LOINC,
    "LOINC": LOINC,
    "SCT": SNOMED_CT,
    "SNOMED": SNOMED_CT,
    "I10C": ICD_10_CM,
    "I10": ICD_10,
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
}
STANDARD = frozenset((*SHORT.values(), "http://www.ama-assn.org/go/cpt", "http://hl7.org/fhir/sid/cvx"))


@dataclass(frozen=True, slots=True)
class Match:
    """What a code is in another system. source: the canonical URL of its ConceptMap, "" for the file."""

    coding: Coding
    equivalence: str = "equivalent"
    source: str = ""


@dataclass(frozen=True, slots=True)
class CodeTable:
    """(system, code) -> what it is elsewhere, in the order in which it is written."""

    matches: Mapping[Code, tuple[Match, ...]] = field(default_factory=dict)

    def codes(self, system: str, code: str) -> tuple[Coding, ...]:
        """Return the codes that mean the same."""
        return tuple(one.coding for one in self.matches.get((system, code), ()) if one.equivalence in SAME)

    def translate(self, system: str, code: str, target: str | None = None) -> list[Match]:
        """Return what a code is elsewhere; target: only in this system."""
        found = self.matches.get((system, code), ())
        return [one for one in found if target in (None, one.coding.system)]

    def __len__(self) -> int:
        return len(self.matches)


EMPTY = CodeTable()


def joined(tables: Iterable[CodeTable]) -> CodeTable:
    """Return tables as one; what stands in several is told once, as the first has it."""
    found: dict[Code, dict[Code, Match]] = {}
    for table in tables:
        for key, matches in table.matches.items():
            held = found.setdefault(key, {})
            for one in matches:
                held.setdefault((one.coding.system, one.coding.code), one)
    return CodeTable(MappingProxyType({key: tuple(held.values()) for key, held in found.items()}))


def from_csv(text: str) -> CodeTable:
    """Return the table that a file holds: a head line with COLUMNS, then a line for each pair of codes.

    Lines without a target are left for later. Raises IncorrectInput with the number of the line that is wrong.
    """
    reader = csv.reader(io.StringIO(text))
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        if tuple(head[: len(COLUMNS) - 1]) != COLUMNS[:-1]:
            raise IncorrectInput(f"line 1: expected the columns {','.join(COLUMNS)}")
        return joined([CodeTable({key: (match,)}) for key, match in _lines(reader)])
    except csv.Error:
        raise IncorrectInput(f"line {reader.line_num}: expected CSV (a quote that is not closed?)") from None


def _lines(reader: Iterator[list[str]]) -> Iterator[tuple[Code, Match]]:
    for number, line in enumerate(reader, 2):
        if number > MOST_LINES:
            raise IncorrectInput(f"line {number}: expected at most {MOST_LINES} lines")
        system, code, target, into, display, *_ = [*(cell.strip() for cell in line), *[""] * 5]
        if not any((system, code, target, into)) or system.startswith("#"):
            continue
        if not system or not code:
            raise IncorrectInput(f"line {number}: expected a system and a code")
        if not target and not into:
            continue
        if not target or not into:
            raise IncorrectInput(f"line {number}: expected a target_system and a target_code, or neither")
        yield (
            (SHORT.get(system, system), code),
            Match(_target(SHORT.get(target.upper(), target), into, display, number)),
        )


def _target(system: str, code: str, display: str, number: int) -> Coding:
    if ":" not in system:
        raise IncorrectInput(f"line {number}: expected {', '.join(sorted(SHORT))} or a URI as target_system")
    if system == ICD_10_CM:
        known = icd_10_cm.normal(code)
        if known is None:
            raise IncorrectInput(f"line {number}: expected a code of ICD-10-CM ({icd_10_cm.release()})")
        return Coding(system, known, display or icd_10_cm.title(known) or "")
    if system == LOINC and not _is_loinc(code):
        raise IncorrectInput(f"line {number}: expected a LOINC code with its check digit")
    if system == SNOMED_CT and not is_sctid(code):
        raise IncorrectInput(f"line {number}: expected a SNOMED CT code with its check digit")
    return Coding(system, code, display)


def _is_loinc(code: str) -> bool:
    """Check digit of LOINC: modulus 10 (LOINC Users' Guide, appendix C)."""
    number, _, digit = code.removeprefix("LP").removeprefix("LA").partition("-")
    if not (number.isascii() and number.isdigit() and digit.isdigit() and len(digit) == 1):
        return False
    doubled = str(int(number[::-2]) * 2) if number else "0"
    rest = number[-2::-2]
    total = sum(map(int, doubled)) + sum(map(int, rest))
    return (10 - total % 10) % 10 == int(digit)


def from_concept_maps(resources: Sequence[Json]) -> CodeTable:
    """Return the table that ConceptMaps hold, those that are not retired. What cannot be read is left out."""
    return joined([_one(resource) for resource in resources if resource.get("status") in ("active", "draft")])


def _one(resource: Json) -> CodeTable:
    found: dict[Code, list[Match]] = {}
    url = str(resource.get("url", ""))
    for group in resource.get("group") or ():
        source, target = group.get("source"), group.get("target")
        for element in group.get("element") or ():
            for one in element.get("target") or ():
                if source and target and element.get("code") and one.get("code"):
                    coding = Coding(target, one["code"], str(one.get("display", "")))
                    match = Match(coding, str(one.get("equivalence", "equivalent")), url)
                    found.setdefault((source, element["code"]), []).append(match)
    return CodeTable({key: tuple(matches) for key, matches in found.items()})
