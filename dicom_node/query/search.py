"""Searches of the index of headers, for C-FIND, C-MOVE, C-GET and QIDO-RS: one meaning for all of them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dicom_node.query.attributes import BY_TAG, Attribute, Level
from dicom_node.query.matching import RANGES, WILD, checked_key, is_universal, matches
from record_store.database import Database
from record_store.header_search import Among, Between, Containing, Depth, Narrowing, header_page
from record_store.header_search import Row as HeaderRow

PAGE = 200
Found = Mapping[int, str]  # tag -> decoded text, several values joined by a backslash

_DEPTH = {
    Level.PATIENT: Depth.STUDY,  # patients are studies of whom only one is shown
    Level.STUDY: Depth.STUDY,
    Level.SERIES: Depth.SERIES,
    Level.IMAGE: Depth.INSTANCE,
}
_PIECE = re.compile(r"[0-9A-Za-z]+")
_DATE = re.compile(r"[0-9]{8}")
_OF_PATIENT = (0x00100020, 0x00100021)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a caller may see. studies: only these. sender: only studies that were sent by this AE alone."""

    studies: frozenset[str] | None = None
    sender: str | None = None


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Question:
    """keys: tag -> what must match (PS3.4 C.2.2.2); those of lower levels or not in the index match everything."""

    level: Level
    keys: Mapping[int, str] = field(default_factory=dict)
    scope: Scope = EVERYTHING


def search(db: Database, question: Question) -> Iterator[Found]:
    """Yield what matches, newest first, with every attribute of its level and of those above.

    Patients, studies, series or instances, each once. Nothing is held between pages of 200 rows. Raises
    IncorrectInput for a key that can be no value, before the first row; Busy when the database is away.
    """
    keys = [
        (BY_TAG[tag], checked_key(BY_TAG[tag].vr, asked)) for tag, asked in question.keys.items() if tag in BY_TAG
    ]
    keys = [(attribute, asked) for attribute, asked in keys if not is_universal(attribute.vr, asked)]
    return _search(db, question, keys)


def _search(db: Database, question: Question, keys: list[tuple[Attribute, str]]) -> Iterator[Found]:
    depth = _DEPTH[question.level]
    deciding = [(one, asked) for one, asked in keys if one.level <= question.level]
    narrowings = list(_scoped(question.scope))
    narrowings += [quick for one, asked in deciding if (quick := _narrowing(one, asked)) is not None]
    seen: set[tuple[str, ...]] = set()
    shown = [one for one in BY_TAG.values() if one.level <= question.level]
    before: int | None = None
    while True:
        with db.read() as conn:
            rows, before = header_page(conn, depth, narrowings, before, PAGE)
        for row in rows:
            if not all(matches(one.vr, _value(row, one), asked) for one, asked in deciding):
                continue
            found = {one.tag: _value(row, one) for one in shown}
            if question.level is Level.PATIENT:
                patient = tuple(found[tag] for tag in _OF_PATIENT)
                if patient in seen:
                    continue
                seen.add(patient)
            yield found
        if before is None:
            return


def _pieces(asked: str) -> tuple[str, ...]:
    """Return what a value contains for certain, in this order.

    Letters beyond ASCII are left to Python, as databases do not agree on their capitals; and so is ss, which may
    stand for one of them.
    """
    return tuple(_PIECE.findall(unicodedata.normalize("NFC", asked).casefold().replace("ss", " ")))


def _value(row: HeaderRow, attribute: Attribute) -> str:
    return row[_DEPTH[attribute.level], attribute.column]


def _scoped(scope: Scope) -> Iterator[Narrowing]:
    if scope.studies is not None:
        yield Among(Depth.STUDY, "study_uid", tuple(sorted(scope.studies)))
    if scope.sender is not None:
        yield Among(Depth.STUDY, "senders", (scope.sender,))


def _narrowing(attribute: Attribute, asked: str) -> Narrowing | None:
    """Return a condition that lets through all that matches, or None when a database has no quick one."""
    depth, column, options = _DEPTH[attribute.level], attribute.column, asked.split("\\")
    if attribute.vr in RANGES:
        low, dash, high = asked.partition("-")
        if attribute.vr != "DA" or not all(_DATE.fullmatch(one) for one in (low, high) if one):
            return None
        return Between(depth, column, low, high if dash else low)
    if attribute.vr == "UI" and not attribute.counted:
        return Among(depth, column, tuple(one.strip("\0 ") for one in options))
    if attribute.vr == "PN" or attribute.counted or {"*", "?"} & set(asked):
        return Containing(depth, column, tuple(map(_pieces, options)))
    if attribute.vr in WILD:
        return Among(depth, column, tuple(one.strip() for one in options))
    return None
