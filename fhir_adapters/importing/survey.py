"""The first reading: which id every fullUrl will have, in whatever file it stands, before anything is written.

What was learnt lies in a private temporary database and not in memory: a hospital's year has millions of entries.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import orjson

from clinical.errors import IncorrectInput
from fhir_adapters.importing.items import (
    COLLECTIONS,
    REQUESTS,
    Identifiers,
    Named,
    Place,
    Problem,
    Rule,
    identifiers_of,
    is_global,
    named_alone,
    named_entry,
)
from fhir_adapters.importing.pieces import Document, Unreadable, lines
from fhir_adapters.importing.sources import Layout, Source

_TABLES = """
CREATE TABLE target (scope INTEGER, link TEXT, reference TEXT, PRIMARY KEY (scope, link)) WITHOUT ROWID;
CREATE TABLE condition (file INTEGER, entry INTEGER, type TEXT, condition TEXT, id TEXT, full_url TEXT, also TEXT,
    problem TEXT, PRIMARY KEY (file, entry));
CREATE INDEX condition_said ON condition (type, condition);
CREATE TABLE patient (id TEXT, identifiers TEXT);
"""
_EVERYWHERE = -1
_KEPT_LINKS = 100_000


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the first reading says of a file. number: its place among the files. kind: Bundle.type.

    kind is "" for NDJSON and for a single resource. problem: why the file cannot be imported at all.
    """

    source: Source
    number: int
    digest: str
    kind: str = ""
    items: int = 0
    problem: Problem | None = None

    @property
    def whole(self) -> bool:
        """Whether its entries are one transaction."""
        return self.kind == "transaction"


class Survey:
    """What the files say, each once, and what the links in them mean."""

    def __init__(self) -> None:
        # "": a private file that SQLite keeps in memory while it is small and removes at the end.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        self._scoped: set[int] = set()
        self._known: dict[tuple[int, str], str | None] = {}

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

    def read(self, source: Source, number: int) -> Surveyed:
        """Read one file for the first time."""
        digest = ""
        try:
            digest = source.digest()
            if source.layout is Layout.NDJSON:
                return Surveyed(source, number, digest, items=self._read_lines(source))
            return self._read_document(source, number, digest)
        except IncorrectInput as error:
            path = next(iter(error.expression), "")
            return Surveyed(source, number, digest, problem=Problem(Place(source.path), error.message, path))

    def links_of(self, number: int) -> "Links":
        """Return what links mean in a file."""
        return Links(self, number)

    def meaning(self, file: int, link: str) -> str | None:
        """Return Type/id of a link that stands in a file, None when it is no fullUrl of any of ours."""
        if link[:4] not in ("urn:", "http"):
            return self._looked_up(file, link) if file in self._scoped else None
        return self._looked_up(_EVERYWHERE if is_global(link) else file, link)

    def conditions(self, file: int) -> list[tuple[int, Named]]:
        """Return the conditional writes of a file with their entries, in their order."""
        asked = "SELECT entry, type, id, full_url, also, condition FROM condition WHERE file = ? ORDER BY entry"
        return [(row[0], Named(Rule.CREATE, *row[1:])) for row in self._db.execute(asked, (file,))]

    def settle(self, file: int, entry: int, named: Named, problem: str | None = None) -> None:
        """Keep what a condition means: the id in `named`, or why it means none; the file's links follow."""
        row = (named.id, problem, file, entry)
        self._db.execute("UPDATE condition SET id = ?, problem = ? WHERE file = ? AND entry = ?", row)
        self._learn(file, named)

    def settled(self, file: int, entry: int) -> tuple[str, str | None]:
        """Return the id of a conditional write, and why there is none."""
        row = self._db.execute(
            "SELECT id, problem FROM condition WHERE file = ? AND entry = ?", (file, entry)
        ).fetchone()
        return row[0], row[1]

    def planned(self, kind: str, condition: str) -> str | None:
        """Return Type/id that a conditional create of any file will make for this condition."""
        row = self._db.execute(
            "SELECT id FROM condition WHERE type = ? AND condition = ?", (kind, condition)
        ).fetchone()
        return None if row is None else f"{kind}/{row[0]}"

    def patients(self, size: int = 500) -> Iterator[list[tuple[str, Identifiers]]]:
        """Yield (id, identifiers) of the Patients that bring an id of their own, sorted, in lots.

        The last of a lot stands first in the next one, so that neighbours can be compared.
        """
        rows = self._db.execute("SELECT id, identifiers FROM patient ORDER BY id")
        lot: list[tuple[str, Identifiers]] = []
        while more := rows.fetchmany(size):
            lot = lot[-1:] + [(one, frozenset(map(tuple, orjson.loads(said)))) for one, said in more]
            yield lot

    def _read_lines(self, source: Source) -> int:
        count = 0
        with source.opened() as file:
            for piece in lines(file):
                count += 1
                if not isinstance(piece, Unreadable) and _is_patient(piece.value):
                    self._meet(named_alone(piece.value, piece.text), piece.value)
        return count

    def _read_document(self, source: Source, number: int, digest: str) -> Surveyed:
        with source.opened() as file:
            document = Document(file)
            again = False
            for piece in document:
                kind = document.members.get("type")
                if kind is None:  # it stands behind the entries: they are read once more
                    again = True
                else:
                    self._enter(number, piece.number, piece.value, str(kind), digest)
        if "resourceType" not in document.members:
            raise IncorrectInput("the file holds no FHIR resource")
        if document.members["resourceType"] != "Bundle":
            if _is_patient(document.members):
                self._meet(named_alone(document.members, source.path.name), document.members)
            return Surveyed(source, number, digest, items=1)
        kind = str(document.members.get("type"))
        if kind not in COLLECTIONS | REQUESTS:
            raise IncorrectInput("a Bundle of this type is not imported", expression=["Bundle.type"])
        if again:
            with source.opened() as file:
                for piece in Document(file):
                    self._enter(number, piece.number, piece.value, kind, digest)
        return Surveyed(source, number, digest, kind, document.read)

    def _enter(self, file: int, entry: int, value: object, kind: str, digest: str) -> None:
        try:
            named = named_entry(value, kind, digest, entry)
        except IncorrectInput:
            return  # told when its turn comes
        if named.rule in (Rule.READ, Rule.DELETE):
            return
        if named.condition is not None:
            row = (file, entry, named.type, named.condition, named.id, named.full_url, named.also)
            self._db.execute("INSERT OR REPLACE INTO condition VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row)
        if named.type == "Patient" and isinstance(value, dict) and named.condition is None:
            self._meet(named, value["resource"])
        self._learn(file, named)

    def _learn(self, file: int, named: Named) -> None:
        rows = []
        if named.full_url:
            scope = _EVERYWHERE if is_global(named.full_url) else file
            rows.append((scope, named.full_url, named.reference))
        if named.also:
            rows.append((file, named.also, named.reference))
        for scope, link, reference in rows:
            self._db.execute("INSERT OR REPLACE INTO target VALUES (?, ?, ?)", (scope, link, reference))
            self._known.pop((scope, link), None)
            if scope != _EVERYWHERE:
                self._scoped.add(file)

    def _meet(self, named: Named, patient: object) -> None:
        said = sorted(identifiers_of(patient)) if isinstance(patient, dict) else []
        if said:
            self._db.execute("INSERT INTO patient VALUES (?, ?)", (named.id, orjson.dumps(said).decode()))

    def _looked_up(self, scope: int, link: str) -> str | None:
        key = (scope, link)
        if key not in self._known:
            if len(self._known) >= _KEPT_LINKS:
                self._known.clear()
            row = self._db.execute("SELECT reference FROM target WHERE scope = ? AND link = ?", key).fetchone()
            self._known[key] = None if row is None else row[0]
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Links:
    """What a link means in one file, asked as a mapping is."""

    survey: Survey
    file: int

    def get(self, link: str, /) -> str | None:
        """Return Type/id, or None for a link that stays as it is."""
        return self.survey.meaning(self.file, link)


def clashes(lot: Sequence[tuple[str, Identifiers]]) -> Iterator[str]:
    """Yield the ids that two Patients with different identifiers share; the lot is sorted by id."""
    for (one, said), (other, also) in pairwise(lot):
        if one == other and not said & also:
            yield one


def _is_patient(value: object) -> bool:
    return isinstance(value, dict) and value.get("resourceType") == "Patient"
