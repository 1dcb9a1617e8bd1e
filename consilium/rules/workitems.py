"""Which steps of a worklist elsewhere are performed here. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from consilium.rules.clauses import LONGEST, matches
from dicom_node.ups.workitem import Workitem


@dataclass(frozen=True, slots=True)
class WorkitemRule:
    """Steps that fit every clause; a clause fits by one of its texts (`*`, `?`), None fits every step.

    code: Scheduled Workitem Code, `value` or `value^scheme`. station: Scheduled Station Name Code, its value or
    meaning. procedure: Procedure Step Label, Worklist Label, or the requested procedure's words.
    models: whose results are the output, "*" for all. archive: who is asked for a study where the step names
    nobody that we know. by: how.
    """

    name: str
    code: tuple[str, ...] | None = None
    station: tuple[str, ...] | None = None
    procedure: tuple[str, ...] | None = None
    models: tuple[str, ...] = ("*",)
    archive: str | None = None
    by: Literal["move", "get"] = "move"

    def fits(self, step: Workitem) -> bool:
        """Tell whether the rule speaks of this step."""
        codes = [text for one in step.codes for text in (one.value, f"{one.value}^{one.scheme}")]
        stations = [text for one in step.stations for text in (one.value, one.meaning)]
        clauses = ((self.code, codes), (self.station, stations), (self.procedure, step.labels))
        return all(patterns is None or _one_fits(patterns, texts) for patterns, texts in clauses)

    def counts(self, model: str) -> bool:
        """Tell whether a model's results are what the step asks for."""
        return "*" in self.models or model in self.models


def _one_fits(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    said = [text.casefold()[:LONGEST] for text in texts]
    return any(matches(pattern.casefold(), text) for pattern in patterns for text in said)
