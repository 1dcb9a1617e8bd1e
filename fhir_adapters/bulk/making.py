"""Makes the exports that clients asked for: files, one after the other, each with its row in one transaction.

A worker that is killed loses the file in hand; whoever takes the export over goes on behind the last one stored.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial

import orjson
import structlog

from clinical.clock import Clock
from clinical.errors import Busy, ClinicalError, IncorrectInput
from fhir_adapters.access.consents import Consents
from fhir_adapters.bulk.asked import GROUP, SYSTEM, Asked
from fhir_adapters.bulk.ndjson import NdjsonFile
from fhir_adapters.bulk.past import PastSearch
from fhir_adapters.bulk.plan import DELETED, ERROR, OUTPUT, Step, groups_within, members_of, steps_of
from record_store import exports
from record_store.as_of import Found, Wanted, as_of
from record_store.blobs import Blobs
from record_store.criteria import IdIn
from record_store.database import Database
from record_store.exports import Export, ExportFile, Place

FILE_BYTES = 32 << 20
LEASE_S = 60.0
RENEW_S = LEASE_S / 4
MOST_ATTEMPTS = 5  # without a file between them
AGAIN_S = 5.0
# A version is given its time a moment before it is committed: that moment has passed when this has.
SETTLE_S = 0.5
DELETED_IN_A_BUNDLE = 200
MOST_GROUPS = 1_000  # of one export, one within another

log = structlog.get_logger()


class _NotOurs(Exception):
    """It was cancelled, another worker has it, or this one is to stop."""


@dataclass(frozen=True)
class Exporter:
    """executor: this worker's stable name. stopping: True when nothing more is to be begun."""

    db: Database
    blobs: Blobs
    now: Clock
    base_url: str
    executor: str
    stopping: Callable[[], bool]
    file_bytes: int = FILE_BYTES
    settle_s: float = SETTLE_S
    consents: Consents | None = None

    @cached_property
    def _past(self) -> PastSearch:
        return PastSearch(self.base_url)

    def once(self) -> int:
        """Make the export that has waited longest; return 1, or 0 when none waits."""
        export = exports.claim(self.db, self.executor, self.now, LEASE_S)
        if export is None:
            return 0
        try:
            with self._holding(export) as lost:
                self._make(export, lost)
        except _NotOurs:
            log.info("export left", export=export.id)
        except Busy as error:
            self._put_off(export, error.retry_after_s)
            raise
        except Exception as error:
            problem = (
                error.message if isinstance(error, ClinicalError) else "the server failed; its log says where"
            )
            if export.attempts < MOST_ATTEMPTS:
                self._put_off(export, AGAIN_S)
            else:
                self._end(export, problem)
            raise
        return 1

    @contextmanager
    def _holding(self, export: Export) -> Iterator[threading.Event]:
        """Renew the lease beside the work, and yield what says that it is lost.

        Not between two finds: what is rare may take a statement longer than a lease, and two workers would take
        the export from one another for ever.
        """
        done, lost = threading.Event(), threading.Event()

        def renew() -> None:
            while not done.wait(RENEW_S):
                with suppress(ClinicalError), self.db.write() as conn:
                    if not exports.renew(conn, export.id, self.executor, self._until()):
                        lost.set()
                        return

        thread = threading.Thread(target=renew, name="export-lease", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            thread.join()

    def _make(self, export: Export, lost: threading.Event) -> None:
        if export.place == Place():
            time.sleep(self.settle_s)
        asked, at = Asked.of_json(export.asked), export.at or ""
        steps = steps_of(asked, at, self._patients(asked, at), self.base_url, self.consents)
        first = export.place
        for number in range(first.step, len(steps)):
            after: str | None = first.after if number == first.step else ""
            while after is not None:
                is_last = number + 1 == len(steps)
                export, after = self._file(export, lost, steps[number], number, after, is_last=is_last)
        if asked.ignored and first.step < len(steps):
            self._tell_ignored(export, asked, len(steps))
        self._end(export, None)

    def _patients(self, asked: Asked, at: str) -> frozenset[str] | None:
        if asked.level == SYSTEM:
            return None
        named = None if asked.patients is None else frozenset(asked.patients)
        if asked.level != GROUP:
            return named
        members = self._members(asked, at)
        return members if named is None else members & named

    def _members(self, asked: Asked, at: str) -> frozenset[str]:
        """Return the patients of the group and of the groups that are its members, as they were then."""
        patients: frozenset[str] = frozenset()
        seen: frozenset[str] = frozenset()
        waiting = frozenset((asked.group,))
        wanted = Wanted("Group", at, every=(IdIn((asked.group,)),))  # the kick-off has judged that one
        while waiting:
            seen |= waiting
            if len(seen) > MOST_GROUPS:
                raise IncorrectInput(f"the group has more than {MOST_GROUPS} groups in it")
            with self.db.read() as conn:
                found = list(as_of(conn, wanted, "", partial(self._past.matching, wanted)))
            for one in found:
                people, groups = members_of(orjson.loads(one.resource.body), self.base_url)
                patients, waiting = patients | people, waiting | groups
            waiting -= seen
            wanted = groups_within(asked, at, waiting, self.consents)
        return patients

    def _file(
        self, export: Export, lost: threading.Event, step: Step, number: int, after: str, *, is_last: bool
    ) -> tuple[Export, str | None]:
        """Make one file of a step, from `after` on; return the export as it is then, and where to go on."""
        file: NdjsonFile | None = None
        last, go_on = after, None
        try:
            with closing(self._pieces(export, lost, step, after)) as pieces:
                for piece, resource_id in pieces:
                    file = file or NdjsonFile(self.blobs.staging)
                    file.add(piece)
                    last = resource_id
                    if file.size >= self.file_bytes:
                        go_on = last
                        break
            announce = partial(self._announce, export)
            made = [file.store(self.blobs, step.kind, self._type(step), announce)] if file else []
        except BaseException:
            if file is not None:
                file.discard()
            raise
        if go_on is not None:
            place = Place(number, go_on)
        else:
            place = Place(number, last) if is_last else Place(number + 1)
        return self._come_on(export, made, place) if made else export, go_on

    def _pieces(
        self, export: Export, lost: threading.Event, step: Step, after: str
    ) -> Generator[tuple[bytes, str], None, None]:
        """Yield lines and the last id that each holds."""
        with self.db.read() as conn:
            wanted = step.wanted
            past = partial(self._past.matching, wanted)
            found = as_of(conn, wanted, after, past, deletions=step.kind == DELETED)
            lines = self._kept(export, lost, found)
            if step.kind == OUTPUT:
                yield from ((one.resource.body, one.resource.id) for one in lines)
                return
            waiting: list[str] = []
            for one in lines:
                waiting.append(one.resource.id)
                if len(waiting) == DELETED_IN_A_BUNDLE:
                    yield _deletions(step.wanted.type, waiting), waiting[-1]
                    waiting = []
            if waiting:
                yield _deletions(step.wanted.type, waiting), waiting[-1]

    def _kept(self, export: Export, lost: threading.Event, found: Iterator[Found]) -> Iterator[Found]:
        """Pass on what is found for as long as the export is ours."""
        for one in found:
            if self.stopping():
                with self.db.write() as conn:
                    exports.let_go(conn, export.id, self.executor, self.now())
                raise _NotOurs
            if lost.is_set():
                raise _NotOurs
            yield one

    def _announce(self, export: Export, made: ExportFile) -> None:
        """Write down which blob comes, having removed the one that a killed worker has left."""
        with self.db.read() as conn:
            left = exports.on_its_way(conn, export.id)
        if left is not None:
            self.blobs.remove(left)
        with self.db.write() as conn:
            if not exports.announce(conn, export.id, self.executor, made):
                raise _NotOurs

    def _come_on(self, export: Export, made: list[ExportFile], place: Place) -> Export:
        with self.db.write() as conn:
            ours = exports.come_on(conn, export, self.executor, made, place, self._until())
        if not ours:
            for one in made:
                self.blobs.remove(one.sha256)
            raise _NotOurs
        return replace(export, place=place)

    def _tell_ignored(self, export: Export, asked: Asked, steps: int) -> None:
        from fhir_adapters.outcome import outcome  # noqa: PLC0415 - flask and the validation, for who asked too much

        file = NdjsonFile(self.blobs.staging)
        for text in asked.ignored:
            file.add(orjson.dumps(outcome("not-supported", text, severity="warning")))
        made = file.store(self.blobs, ERROR, "OperationOutcome", partial(self._announce, export))
        self._come_on(export, [made], Place(steps))

    def _put_off(self, export: Export, seconds: float) -> None:
        with self.db.write() as conn:
            exports.let_go(conn, export.id, self.executor, self.now() + timedelta(seconds=seconds))

    def _end(self, export: Export, problem: str | None) -> None:
        with self.db.write() as conn:
            ours = exports.end(conn, export.id, self.executor, self.now(), problem)
        log.info("export ended", export=export.id, result="failed" if problem else "done", ours=ours)

    def _until(self) -> datetime:
        return self.now() + timedelta(seconds=LEASE_S)

    @staticmethod
    def _type(step: Step) -> str:
        return "Bundle" if step.kind == DELETED else step.wanted.type


def clear_old(db: Database, blobs: Blobs, now: Clock, life_s: float) -> int:
    """Remove the files of exports that were cancelled or whose life is over; return the number of files."""
    removed = 0
    while (files := exports.clear(db, now(), life_s, blobs.remove)) is not None:
        removed += files
    return removed


def _deletions(kind: str, ids: list[str]) -> bytes:
    entries = [{"request": {"method": "DELETE", "url": f"{kind}/{one}"}} for one in ids]
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
