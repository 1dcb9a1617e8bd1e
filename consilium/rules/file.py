"""Reads a rules file. A mistake stops start-up with line, key and what was expected, never with the value."""

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clinical.errors import IncorrectInput
from consilium.interlocks import Interlocks
from consilium.rules.clauses import Clauses
from consilium.rules.completion import CompleteRule
from consilium.rules.entries import RulesEntry, WhenEntry
from consilium.rules.lines import Place, line_of, places_of
from consilium.rules.priors import PriorRule
from consilium.rules.table import EVERY, ReadRule, Rules, SendRule
from consilium.rules.workitems import WorkitemRule

MAX_FILE_BYTES = 1 << 20
_SAID = {
    "extra_forbidden": "not known here",
    "missing": "expected here",
    "string_type": "expected a text in quotes",
    "tuple_type": "expected a list in brackets",
    "model_type": "expected a table",
    "string_pattern_mismatch": "expected a word of PS3.16 annex L in capitals, as BREAST",
    "too_short": "expected at least one",
}
_KEY = re.compile(r"[a-z_]{1,24}")


class RulesWrong(IncorrectInput):
    """The rules cannot be used. lines: one for each mistake."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


def read_rules(
    path: Path, *, models: Collection[str], destinations: Collection[str], shadows: Collection[str] = ()
) -> Rules:
    """Return the rules of a file. models, destinations, shadows: names that rules may use. Raises RulesWrong."""
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        # The library names line and column, and quotes no more than one character of the file.
        raise RulesWrong([f"expected TOML: {exc}"]) from None
    places = places_of(text)
    try:
        entry = RulesEntry.model_validate(document)
    except ValidationError as exc:
        raise RulesWrong([_in_words(problem, places) for problem in _problems(exc)]) from None
    wrong = _unknown_names(entry, set(models), set(destinations)) + _twins(entry)
    wrong += [(("shadow",), _SHADOW)] * bool(set(entry.shadow) - set(shadows))
    if wrong:
        raise RulesWrong([_line(places, place, said) for place, said in wrong])
    return _rules(entry)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RulesWrong([f"expected a file of at most {MAX_FILE_BYTES} bytes"])
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise RulesWrong([f"the file cannot be read ({exc.strerror})"]) from None
    except UnicodeDecodeError:
        raise RulesWrong(["expected UTF-8"]) from None


def _problems(exc: ValidationError) -> list[Any]:
    found = exc.errors(include_input=False, include_url=False)
    # A list whose every text is wrong is also called too short; the text is what to mend.
    return [one for one in found if not any(one["loc"] == more["loc"][:-1] for more in found if one is not more)]


def _in_words(problem: Any, places: dict[Place, int]) -> str:  # noqa: ANN401 - pydantic's own dictionary
    said = _SAID.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    said = said.replace("Input should be", "expected")
    return _line(places, problem["loc"], said[0].lower() + said[1:])


def _line(places: dict[Place, int], place: Place, said: str) -> str:
    # A key that somebody misspelt is a word of the file; one that is no plain word is not repeated.
    shown = ".".join(str(part + 1) if isinstance(part, int) else part for part in place if _shown(part))
    return f"line {line_of(places, place)}, {shown or 'the file'}: {said}"


def _shown(part: str | int) -> bool:
    return isinstance(part, int) or _KEY.fullmatch(part) is not None


def _unknown_names(entry: RulesEntry, models: set[str], destinations: set[str]) -> list[tuple[Place, str]]:
    wrong: list[tuple[Place, str]] = []
    for number, read in enumerate(entry.read):
        wrong += [(("read", number, "models"), _MODEL)] * bool(set(read.models) - models - {EVERY})
    for number, send in enumerate(entry.send):
        wrong += [(("send", number, "models"), _MODEL)] * bool(set(send.models) - models - {EVERY})
        wrong += [(("send", number, "to"), _DESTINATION)] * bool(set(send.to) - destinations - {EVERY})
    for number, prior in enumerate(entry.prior):
        wrong += [(("prior", number, "archive"), _ARCHIVE)] * (prior.archive not in destinations)
    for number, step in enumerate(entry.workitem):
        wrong += [(("workitem", number, "models"), _MODEL)] * bool(set(step.models) - models - {EVERY})
        wrong += [(("workitem", number, "archive"), _ARCHIVE)] * (step.archive not in {None, *destinations})
    return wrong


_MODEL = "expected names of models in the models folder, or * for all"
_ARCHIVE = "expected the name of an archive in CONSILIUM_PACS"
_SHADOW = "expected NAME@VERSION of models in CONSILIUM_SHADOW_MODELS"
_DESTINATION = "expected names of destinations in CONSILIUM_PACS, or * for all"


def _twins(entry: RulesEntry) -> list[tuple[Place, str]]:
    wrong: list[tuple[Place, str]] = []
    for kind, entries in (
        ("read", entry.read),
        ("send", entry.send),
        ("complete", entry.complete),
        ("prior", entry.prior),
        ("workitem", entry.workitem),
    ):
        names = [one.name for one in entries]
        wrong += [
            ((kind, number, "name"), f"expected a name that no other [[{kind}]] has")
            for number, name in enumerate(names)
            if name in names[:number]
        ]
    return wrong


def _rules(entry: RulesEntry) -> Rules:
    return Rules(
        read=tuple(
            ReadRule(one.name, one.models, _clauses(one.when), _clauses(one.unless) if one.unless else None)
            for one in entry.read
        ),
        send=tuple(SendRule(one.name, one.kinds, one.models, one.to) for one in entry.send),
        complete=tuple(
            CompleteRule(
                name=one.name,
                modality=one.when.modality,
                calling_ae=one.when.calling_ae,
                quiet_s=one.quiet_s,
                images=one.images,
                series=one.series,
                release_s=one.release_s,
                missing_s=one.missing_s,
                hold_incomplete=one.incomplete == "hold",
                ignore_late=one.late == "ignore",
            )
            for one in entry.complete
        ),
        hold=Interlocks(**entry.hold.model_dump()),
        prior=tuple(
            PriorRule(
                name=one.name,
                archive=one.archive,
                when_modality=one.when.modality,
                when_calling_ae=one.when.calling_ae,
                modality=one.modality,
                description=one.description,
                body_part=one.body_part,
                most=one.most,
                years=one.years,
                objects=one.objects,
                by=one.by,
            )
            for one in entry.prior
        ),
        workitem=tuple(
            WorkitemRule(
                name=one.name,
                code=one.when.code,
                station=one.when.station,
                procedure=one.when.procedure,
                models=one.models,
                archive=one.archive,
                by=one.by,
            )
            for one in entry.workitem
        ),
        unmatched_reads=entry.unmatched == "every model",
        shadow=entry.shadow,
    )


def _clauses(entry: WhenEntry) -> Clauses:
    return Clauses(entry.model_dump(exclude_none=True))
