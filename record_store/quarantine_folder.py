"""The quarantine of objects that were refused because they are malformed: as they came, for who mends the sender.

Two files an object, named after the hash of its bytes and so never from the wire: `<sha256>.dcm`, and by the same
name `.json`: who sent it and why it was refused. What is sent again is kept once and counted. Nothing reads from
here but an operator's commands. Nothing is promised of it: no byte is flushed, and the oldest give way.

Images that were stored and ended their decoder are in the blob store; `record_store.quarantine` counts those.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import orjson
import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError, IncorrectInput, NotFound
from record_store.parts import PartFile
from record_store.times import to_text

SHORTEST_NAME = 6
_NAME = re.compile(r"[0-9a-f]{64}")
_OBJECT, _NOTE = ".dcm", ".json"
_CHANGE_BYTES = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QuarantineBounds:
    """What the quarantine may hold.

    size: bytes of objects, 0 keeps nothing new. low_water: free bytes to leave on the disk.
    """

    size: int = 512 << 20
    objects: int = 1000
    age: timedelta = timedelta(days=30)
    low_water: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object was refused, and who sent it. No patient data.

    service: "C-STORE" or "STOW-RS". status: of DIMSE, as answered. instance: digest of the SOP Instance UID.
    fetched: it came because we asked for it.
    """

    service: str
    calling: str
    called: str
    address: str
    status: int
    why: str
    instance: str
    sop_class: str = ""
    transfer_syntax: str = ""
    fetched: bool = False


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One object in quarantine. times: how often it was sent."""

    sha256: str
    size: int
    first_at: str
    last_at: str
    times: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class _Found:
    """Files of one name. is_whole: object and note are there."""

    name: str
    size: int
    noted_at: float
    is_whole: bool


class Quarantine:
    """The folder of one server, which its processes share."""

    def __init__(self, folder: Path, bounds: QuarantineBounds, now: Clock) -> None:
        self._folder, self._bounds, self._now = folder, bounds, now
        self._known: dict[str, _Found] = {}  # what lay there after the change of this name
        self._change = b""

    def keep(self, part: PartFile, refusal: Refusal) -> bool:
        """Move a part in; False when it is not kept, and then it is where it was. Never raises."""
        return self._keep(part.sha256, part.size, refusal, lambda target: _move(part.path, target))

    def keep_bytes(self, data: bytes | memoryview, refusal: Refusal) -> bool:
        """Write what is only in memory, as `keep`."""
        sha256 = hashlib.sha256(data).hexdigest()
        return self._keep(sha256, len(data), refusal, lambda target: _write(target, data))

    def entries(self) -> list[Quarantined]:
        """Return what is there, the last refused first."""
        found = [one for name in self._look() if (one := self._read(name)) is not None]
        return sorted(found, key=lambda one: (one.last_at, one.sha256), reverse=True)

    def named(self, name: str) -> Quarantined:
        """Return the object whose sha256 begins so. Raises IncorrectInput, NotFound."""
        if len(name) < SHORTEST_NAME or set(name) - set("0123456789abcdef"):
            raise IncorrectInput(f"an object is named by the first {SHORTEST_NAME} or more digits of its sha256")
        found = [one for one in self.entries() if one.sha256.startswith(name)]
        if len(found) != 1:
            raise NotFound("several objects have digests that begin so" if found else "no object has this digest")
        return found[0]

    def path(self, one: Quarantined) -> Path:
        """Return where its bytes are; they are never to be written to."""
        return self._folder / f"{one.sha256}{_OBJECT}"

    def remove(self, one: Quarantined) -> None:
        """Remove it. Its bytes are not overwritten: what the file system keeps of them is its own affair."""
        with self._alone() as lock:
            self._forget(one.sha256)
            _name_change(lock)

    def totals(self) -> tuple[int, int]:
        """Return how many objects there are and their bytes."""
        sizes = [one.size for one in self._look().values() if one.is_whole]
        return len(sizes), sum(sizes)

    def expire(self) -> int:
        """Remove what is too old or too much, and what a killed process has left; return how many objects."""
        if not self._folder.is_dir():
            return 0
        with self._alone() as lock:
            _name_change(lock)
            return self._expire(self._look())

    def _keep(self, sha256: str, size: int, refusal: Refusal, place: Callable[[Path], None]) -> bool:
        bounds, name = self._bounds, sha256[:12]
        if not 0 < size <= bounds.size:
            return False
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if shutil.disk_usage(self._folder).free < bounds.low_water + size:
                return False
            with self._alone() as lock:
                # A sender may send nonsense all day: the folder is read again when another process has changed it.
                is_known = self._change == os.pread(lock, _CHANGE_BYTES, 0) != b""
                known, before = self._known if is_known else self._look(), self._read(sha256)
                self._change = b""  # until all is done
                place(self._folder / f"{sha256}{_OBJECT}")
                at = to_text(self._now())
                first, times = (before.first_at, before.times) if before else (at, 0)
                known[sha256] = self._note(Quarantined(sha256, size, first, at, times + 1, refusal))
                self._expire(known)
                self._known, self._change = known, _name_change(lock)
        except (OSError, ClinicalError) as error:  # the refusal is answered all the same
            log.warning("object not quarantined", object=name, why=_in_words(error))
            return False
        log.warning("object quarantined", object=name, calling_ae=refusal.calling, size=size, count=times + 1)
        return True

    def _note(self, one: Quarantined) -> _Found:
        note, new = self._folder / f"{one.sha256}{_NOTE}", self._folder / f"{one.sha256}.new"
        _write(new, orjson.dumps(asdict(one), option=orjson.OPT_INDENT_2))
        at = self._now().timestamp()
        os.utime(new, (at, at))  # what is oldest is told by the note's time, so that none has to be read
        new.replace(note)
        return _Found(one.sha256, one.size, at, is_whole=True)

    def _expire(self, known: dict[str, _Found]) -> int:
        bounds, removed = self._bounds, 0
        oldest = self._now().timestamp() - bounds.age.total_seconds()
        count = size = 0
        for one in sorted(known.values(), key=lambda one: one.noted_at, reverse=True):
            # Switched off, it takes nothing more; what is in it stays until it is too old or somebody removes it.
            over = count >= bounds.objects or size + one.size > bounds.size > 0
            if not one.is_whole or one.noted_at <= oldest or over:
                self._forget(one.name)
                del known[one.name]
                removed += one.is_whole
            else:
                count, size = count + 1, size + one.size
        return removed

    def _look(self) -> dict[str, _Found]:
        found: dict[str, dict[str, os.stat_result]] = {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as files:
            for file in files:
                name, dot, ending = file.name.partition(".")
                if _NAME.fullmatch(name):
                    with suppress(FileNotFoundError):
                        found.setdefault(name, {})[dot + ending] = file.stat()
        return {name: _found(name, files) for name, files in found.items()}

    def _read(self, name: str) -> Quarantined | None:
        try:
            if not (self._folder / f"{name}{_OBJECT}").exists():
                return None
            said = orjson.loads((self._folder / f"{name}{_NOTE}").read_bytes())
            return Quarantined(**said | {"refusal": Refusal(**said["refusal"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # gone meanwhile, or no note of ours
            return None

    def _forget(self, name: str) -> None:
        for ending in (_OBJECT, _NOTE, ".new"):
            (self._folder / f"{name}{ending}").unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Keep the other threads and processes out; yield the lock's file, which names the last change."""
        lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


def _found(name: str, files: dict[str, os.stat_result]) -> _Found:
    held, note = files.get(_OBJECT), files.get(_NOTE)
    return _Found(
        name,
        held.st_size if held else 0,
        note.st_mtime if note else 0.0,
        is_whole=held is not None and note is not None,
    )


def _name_change(lock: int) -> bytes:
    name = os.urandom(_CHANGE_BYTES)
    os.pwrite(lock, name, 0)
    return name


def _in_words(error: OSError | ClinicalError) -> str:
    if isinstance(error, ClinicalError):
        return error.message
    return errno.errorcode.get(error.errno or 0, "unknown")


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)  # whoever offers a part removes it in any case


def _write(target: Path, data: bytes | memoryview) -> None:
    descriptor = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
