"""One file on its way into the target.

A transaction's entries are written together or not at all (up to MAX_ENTRIES); everything else in lots, each
resource by itself.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from clinical.errors import IncorrectInput
from fhir_adapters.importing.items import Item, Place, Problem, Rule, named_alone, named_entry, resource_of
from fhir_adapters.importing.pieces import Document, Piece, Unreadable, lines
from fhir_adapters.importing.prepare import Ready, prepare
from fhir_adapters.importing.sources import Layout, Source
from fhir_adapters.importing.survey import Survey, Surveyed
from fhir_adapters.importing.tally import Tally
from fhir_adapters.importing.target import Target, Watch
from fhir_adapters.importing.writing import tried
from fhir_adapters.rest.entries import MAX_ENTRIES
from fhir_adapters.strict_json import MAX_BYTES
from record_store.imports import Imported

LOT = 250
LOT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """What all files of one import share. each: a transaction's entries stand for themselves too."""

    target: Target
    watch: Watch
    survey: Survey
    each: bool = False
    tally: Tally = field(default_factory=Tally)

    def refuse(self, problems: list[Problem]) -> None:
        """Tell and count one resource that is not imported."""
        self.tally.refused += 1
        for one in problems:
            self.watch.problem(one)

    def prepared(self, file: Surveyed, item: Item) -> Ready | list[Problem]:
        """Return an item ready to be written, or what is wrong with it."""

        def found(kind: str, condition: str) -> str | None:
            there = self.target.found(kind, condition)
            return self.survey.planned(kind, condition) if there is None and self.target.rehearsal else there

        return prepare(item, self.survey.links_of(file.number), found, self.target.base_url, self.target.profiles)


class Turn:
    """One file, once. waits: the resources (counted from 1) that wait for another file."""

    def __init__(
        self, way: Way, file: Surveyed, *, done: int = 0, only: frozenset[int] = frozenset(), last: bool = False
    ) -> None:
        """done: so many from the start need nothing more. only: these and no others, when there are any.

        last: what waits is refused now.
        """
        self.waits: set[int] = set()
        self._way = way
        self._file = file
        self._done = done
        self._only = only
        self._last = last
        self._together = _comes_whole(way, file)
        self._seen = 0
        self._refused: list[list[Problem]] = []  # of a transaction; else only told and counted
        self._count = 0
        self._ready: list[Ready] = []
        self._bytes = 0

    def run(self) -> None:
        """Go through the file."""
        for one in items(self._way, self._file):
            self._seen += 1
            if self._seen <= self._done:
                self._way.watch.advance(1)
            elif not self._only or self._seen in self._only:
                self._take(one)
            if not self._together and (len(self._ready) >= LOT or self._bytes >= LOT_BYTES):
                self._write()
        if self._together and (self._refused or self.waits):
            self._undo()
            return
        self._write()
        if not self.waits:
            self._way.target.finish(self._file.digest, self._so_far(finished=True))

    def _take(self, one: Item | Problem) -> None:
        if isinstance(one, Item) and one.named.rule is Rule.READ:
            self._way.tally.ignored += 1
            self._way.watch.advance(1)
            return
        made = self._way.prepared(self._file, one) if isinstance(one, Item) else [one]
        if isinstance(made, Ready):
            self._ready.append(made)
            self._bytes += len(made.item.data)
        elif any(problem.waits for problem in made) and not self._last:
            self.waits.add(self._seen)
        else:
            self._count += 1
            if self._together:
                self._refused.append(made)
            else:
                self._way.refuse(made)
                self._way.watch.advance(1)

    def _undo(self) -> None:
        """Leave a transaction: nothing of it is written. What waits decides later."""
        if self.waits:
            return
        for problems in self._refused:
            self._way.refuse(problems)
        words = f"nothing of this transaction is imported: {len(self._refused)} of its entries are refused"
        self._way.watch.problem(Problem(Place(self._file.source.path), words))
        self._way.tally.refused += len(self._ready)
        self._way.watch.advance(self._seen)
        self._count = self._seen
        self._way.target.finish(self._file.digest, self._so_far(finished=True))

    def _write(self) -> None:
        if self._ready:
            ready, digest, so_far = self._ready, self._file.digest, self._so_far(finished=False)
            done = tried(lambda: self._way.target.write(ready, digest, so_far))
            self._count += done.refused
            self._way.tally.add(done)
            self._way.watch.advance(len(ready))
            self._ready, self._bytes = [], 0

    def _so_far(self, *, finished: bool) -> Imported:
        # What waits is gone through again, so the file is not counted as done up to here.
        return Imported(0 if self.waits else self._seen, self._count, finished=finished)


def items(way: Way, file: Surveyed) -> Iterator[Item | Problem]:
    """Yield what a file holds, one after another. Raises IncorrectInput where it cannot be read further."""
    source = file.source
    with source.opened() as opened:
        if source.layout is Layout.NDJSON:
            yield from (_line(source, piece) for piece in lines(opened))
        elif file.kind:
            yield from (_entry(way, file, piece) for piece in Document(opened))
        else:
            yield _whole(Place(source.path), opened.read(MAX_BYTES + 1))


def _line(source: Source, piece: Piece | Unreadable) -> Item | Problem:
    place = Place(source.path, line=piece.number)
    return Problem(place, piece.reason) if isinstance(piece, Unreadable) else _alone(place, piece)


def _whole(place: Place, data: bytes) -> Item | Problem:
    if len(data) > MAX_BYTES:
        return Problem(place, f"a resource may have {MAX_BYTES} bytes")
    text = data.decode("utf-8-sig")
    return _alone(place, Piece(0, text, json.loads(text)))


def _alone(place: Place, piece: Piece) -> Item | Problem:
    try:
        return Item(place, named_alone(piece.value, piece.text), piece.text.encode())
    except IncorrectInput as error:
        return Problem(place, error.message, next(iter(error.expression), ""))


def _comes_whole(way: Way, file: Surveyed) -> bool:
    return file.whole and not way.each and file.items <= MAX_ENTRIES


def _entry(way: Way, file: Surveyed, piece: Piece) -> Item | Problem:
    place = Place(file.source.path, entry=piece.number)
    try:
        named = named_entry(piece.value, file.kind, file.digest, piece.number)
    except IncorrectInput as error:
        return Problem(place, error.message, next(iter(error.expression), ""))
    if named.condition is not None:
        own, problem = way.survey.settled(file.number, piece.number)
        if problem is not None:
            return Problem(place, problem, "request")
        named = replace(named, id=own)
    data = b"" if named.rule is Rule.DELETE else resource_of(piece.text)
    return Item(place, named, data, together=_comes_whole(way, file))
