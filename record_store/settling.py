"""What stands in a journal becomes files and durable rows, so that its place can be used again."""

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import bindparam, select

from clinical.errors import ClinicalError
from record_store.blobs import LocalBlobs
from record_store.database import Database
from record_store.direct_io import aligned
from record_store.intents import no_sweep
from record_store.journal import LARGEST_BYTES, JournalFile
from record_store.parts import PartFile
from record_store.tables import instance

_AT_ONCE = 32  # files that are open at a time; they share the file system's own flush
_ASKED_AT_ONCE = 500
_BYTES_OF = select(instance.c.sop_instance_uid, instance.c.sha256).where(
    instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object stands in a journal."""

    sop_instance_uid: str
    sha256: str
    offset: int
    size: int


def settle(journal: JournalFile, places: Sequence[Place], db: Database, blobs: LocalBlobs) -> None:
    """Make files of what rows name and flush files and rows.

    What no row names gets no file: it was not answered with Success, had other bytes than the first, or is
    deleted. Raises Busy or Fault when something is not durable.
    """
    with no_sweep(blobs.staging):
        wanted = {place.sha256: place for place in _named(places, db)}
        # Read, for it may be a repeated object whose file has decayed, and the whole one stands here.
        here = {name for name in wanted if blobs.has_whole_file(name)}
        missing = iter(place for name, place in wanted.items() if name not in here)
        with aligned(LARGEST_BYTES) as memory:
            while batch := list(islice(missing, _AT_ONCE)):
                _write(journal, batch, blobs, memory)
        blobs.settle(list(here))
    db.settle()


def _write(journal: JournalFile, batch: Iterable[Place], blobs: LocalBlobs, memory: mmap.mmap) -> None:
    parts: list[PartFile] = []
    try:
        for place in batch:
            parts.append(PartFile.new(blobs.staging))
            with memoryview(memory)[: place.size] as view:
                journal.read_into(view, place.offset)
                parts[-1].write_past_the_cache(view, place.sha256)
        errors = [error for error in blobs.adopt_all(parts) if error is not None]
    except ClinicalError as error:
        errors = [error]
    if errors:
        for part in parts:
            part.discard()
        raise errors[0]


def _named(places: Sequence[Place], db: Database) -> Iterator[Place]:
    for first in range(0, len(places), _ASKED_AT_ONCE):
        some = places[first : first + _ASKED_AT_ONCE]
        with db.read() as conn:
            rows = conn.execute(_BYTES_OF, {"uids": [place.sop_instance_uid for place in some]}).all()
        named = {(uid, sha256) for uid, sha256 in rows}
        yield from (place for place in some if (place.sop_instance_uid, place.sha256) in named)
