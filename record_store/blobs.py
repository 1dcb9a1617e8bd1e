"""Bytes by their sha256: DICOM objects received and made, label images. A local folder or S3.

A name that is the content's hash makes every write idempotent and every read checkable.
"""

import hashlib
import os
import re
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from clinical.errors import Busy, ClinicalError, Fault, IncorrectInput
from record_store.flush import flush
from record_store.journal import find
from record_store.os_errors import absent, os_errors
from record_store.parts import PartFile

FaultPoint = Callable[[str], None]  # named points of the write path, for tests that crash there
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
CHECKED_FOR_S = 600.0  # after which a file that has not changed is hashed again
CHECKED_KEPT = 8192


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What was stored: the sha256 in hexadecimal, which is its name, and the size in bytes."""

    sha256: str
    size: int


class Blobs(Protocol):
    """A store of immutable bytes.

    staging: local folder where writers make *.part files before `adopt`.
    """

    @property
    def staging(self) -> Path:
        """The folder for *.part files."""

    def adopt(self, part: Path) -> StoredBlob:
        """Store a finished file durably and take it away from `staging`.

        When this returns, the bytes survive a loss of power. Content that is present already is fine.
        Raises Busy when the store is full or away, Fault when it fails; the part then stays for `sweep`.
        """

    def adopt_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Store several parts durably, with one flush where that serves them all; close them.

        None for each that is durable now, and why it is not for each other one, whose file stays for its
        owner to discard.
        """

    def place_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Store as `adopt_all`, but let a loss of power take them: for who has them elsewhere until `settle`."""

    def settle(self, names: Sequence[str]) -> None:
        """Make what was placed durable; names that are not here any more are fine. Errors as `adopt`."""

    def put(self, data: bytes) -> StoredBlob:
        """Store bytes, with the guarantees of `adopt`."""

    def get(self, sha256: str) -> bytes:
        """Return the bytes. Raises NotFound when absent, Fault when they are not what was stored."""

    def local_path(self, sha256: str) -> AbstractContextManager[Path]:
        """Yield a readable file with the bytes, never to be written to; errors as `get`."""

    def beginning(self, sha256: str, count: int) -> bytes:
        """Return the first bytes, up to `count`, unchecked: to list what is there without reading it all."""

    def remove(self, sha256: str) -> None:
        """Remove bytes that no row names and none will; absent ones are fine."""

    def free_bytes(self) -> int:
        """Return the free space of the file system that takes new data."""

    def sweep(self, older_than_s: float) -> int:
        """Remove *.part files that nobody has written to for this long; return how many."""


def open_blobs(url: str, staging: Path, fault: FaultPoint = lambda _point: None) -> Blobs:
    """Return the blob store at `url`, with `staging` made when it is absent.

    url: "file:///absolute/folder" or "s3://bucket/prefix" (credentials as obstore reads them from the
        environment). A local store and its staging folder must be on one file system, because a rename
        is atomic only there.
    fault: called with "after-write", "after-fsync", "after-rename", "after-dirsync" in a local store.

    Raises IncorrectInput for another URL or two file systems.
    """
    parts = urlsplit(url)
    staging.mkdir(parents=True, exist_ok=True, mode=0o700)
    if parts.scheme == "s3" and parts.netloc:
        from obstore.store import from_url  # noqa: PLC0415 - 16 MB that a local store does not need

        return RemoteBlobs(from_url(url), staging)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise IncorrectInput("a blob URL is file:///absolute/folder or s3://bucket/prefix")
    folder = Path(unquote(parts.path))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_dev != staging.stat().st_dev:
        raise IncorrectInput("the blob folder and its staging folder must be on one file system")
    return LocalBlobs(folder, staging, fault)


class _Checked:
    """Files that were found to be what their name says, the last few thousand. Safe to share between threads."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[tuple[int, int, int], float]] = OrderedDict()
        self._lock = threading.Lock()

    def knows(self, sha256: str, state: tuple[int, int, int]) -> bool:
        with self._lock:
            found, at = self._found.get(sha256, (None, 0.0))
            return found == state and time.monotonic() - at < CHECKED_FOR_S

    def add(self, sha256: str, state: tuple[int, int, int]) -> None:
        with self._lock:
            self._found[sha256] = (state, time.monotonic())
            while len(self._found) > CHECKED_KEPT:
                self._found.popitem(last=False)


class LocalBlobs:
    """Blobs in a folder: <folder>/<first two digits>/<sha256>."""

    def __init__(self, folder: Path, staging: Path, fault: FaultPoint) -> None:
        self._folder, self._folder_text = folder, str(folder)
        self._fault = fault
        self._folders_are_durable = False
        self._checked = _Checked()
        self.staging = staging

    def adopt(self, part: Path) -> StoredBlob:
        """Store one finished file, as `adopt_all`."""
        file = PartFile.of(part)
        (error,) = self.adopt_all([file])
        if error is not None:
            raise error
        return StoredBlob(file.sha256, file.size)

    def adopt_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Flush the files, rename them, flush the folders: in this order a crash leaves all or nothing of each."""
        errors: dict[PartFile, ClinicalError] = {}
        try:
            with os_errors():
                self._fault("after-write")
                _each(parts, errors, PartFile.flush)
                self._fault("after-fsync")
                _each(parts, errors, self._rename)
                self._fault("after-rename")
                self._flush_folders([part for part in parts if part not in errors], errors)
                self._fault("after-dirsync")
        finally:
            for part in parts:
                part.close()
        return [errors.get(part) for part in parts]

    def place_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Rename the files and flush nothing."""
        errors: dict[PartFile, ClinicalError] = {}
        try:
            with os_errors():
                _each(parts, errors, self._rename)
                self._fault("after-rename")
        finally:
            for part in parts:
                part.close()
        return [errors.get(part) for part in parts]

    def settle(self, names: Sequence[str]) -> None:
        """Flush files and folders; the file system writes most of them at the first flush."""
        with os_errors():
            for name in dict.fromkeys(names):
                with suppress(FileNotFoundError):
                    flush(self._file(name))
            for folder in dict.fromkeys(self._folder_of(name) for name in names):
                flush(folder)

    def _flush_folders(self, parts: Sequence[PartFile], errors: dict[PartFile, ClinicalError]) -> None:
        folders: dict[str, list[PartFile]] = {}
        for part in parts:
            folders.setdefault(self._folder_of(part.sha256), []).append(part)
        for folder, inside in folders.items():
            try:
                with os_errors():
                    flush(folder)
            except ClinicalError as error:
                errors.update(dict.fromkeys(inside, error))

    def _rename(self, part: PartFile) -> None:
        target = self._file(part.sha256)
        with os_errors():
            if not self._folders_are_durable:
                self._make_folders()
            # A blob that is present is replaced by itself: that also mends one whose bytes have decayed.
            try:
                os.rename(part.path, target)  # noqa: PTH104 - text, see `_file`
            except FileNotFoundError:  # somebody has removed the folder
                self._make_folders()
                os.rename(part.path, target)  # noqa: PTH104 - text, see `_file`

    def put(self, data: bytes) -> StoredBlob:
        """Store bytes, by way of a part."""
        part = self.staging / f"{uuid.uuid4().hex}.part"
        with os_errors():
            part.touch(mode=0o600)
            part.write_bytes(data)
        return self.adopt(part)

    def get(self, sha256: str) -> bytes:
        """Return the bytes after checking them."""
        with os_errors():
            data = self._unsettled(sha256) or Path(self._file(sha256)).read_bytes()
        return _checked(data, sha256)

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        """Yield the blob itself after checking it: the same file not again within CHECKED_FOR_S.

        A viewer asks for an object frame by frame; each time the whole file would be read for its hash.
        """
        with os_errors():
            path = self._path(sha256)
        with os_errors(), path.open("rb") as file:
            status = os.fstat(file.fileno())
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
            if not self._checked.knows(sha256, state):
                if _hash_of(file).sha256 != sha256:
                    raise Fault("an object of the blob store is damaged")
                self._checked.add(sha256, state)
        yield path

    def beginning(self, sha256: str, count: int) -> bytes:
        """Read the beginning of the file."""
        with os_errors():
            if (data := self._unsettled(sha256)) is not None:
                return data[:count]
            with Path(self._file(sha256)).open("rb") as file:
                return file.read(count)

    def remove(self, sha256: str) -> None:
        """Remove the file."""
        with os_errors():
            Path(self._file(sha256)).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the free space of the store's file system."""
        with os_errors():
            return shutil.disk_usage(self._folder).free

    def sweep(self, older_than_s: float) -> int:
        """Remove stale parts."""
        return _sweep(self.staging, older_than_s)

    def prepare(self) -> None:
        """Make the folders now and not at the first object."""
        with os_errors():
            self._make_folders()

    def _make_folders(self) -> None:
        # All at once, once a process: one flush and not one for each. That a folder is there does not mean that
        # whoever made it has flushed it already, so every process does so before it relies on it.
        for number in range(256):
            (self._folder / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
        flush(self._folder)
        flush(self._folder.parent)
        self._folders_are_durable = True

    def has_file(self, sha256: str) -> bool:
        """Tell whether there is a file of this name; it may also stand in a journal alone."""
        return os.path.exists(self._file(sha256))  # noqa: PTH110 - text, see `_file`

    def has_whole_file(self, sha256: str) -> bool:
        """Tell whether there is a file of this name that holds these bytes, having read it.

        One that cannot be read does not: who asks has the bytes, and a file made of them takes its place.
        """
        with suppress(ClinicalError), os_errors(), Path(self._file(sha256)).open("rb") as file:
            return _hash_of(file).sha256 == sha256
        return False

    def _unsettled(self, sha256: str) -> bytes | None:
        """Return an object that stands in a journal and is no file yet."""
        return None if self.has_file(sha256) else find(self.staging, sha256)

    def _path(self, sha256: str) -> Path:
        """Return the file's path, having made it when its object stands in a journal."""
        if (data := self._unsettled(sha256)) is not None:
            part = PartFile.new(self.staging)
            part.hold([data])
            (error,) = self.adopt_all([part])
            if error is not None:
                part.discard()
                raise error
        return Path(self._file(sha256))

    def _file(self, sha256: str) -> str:
        # Text, because for every received object a Path costs more than what is done with it.
        _check_name(sha256)
        return f"{self._folder_text}/{sha256[:2]}/{sha256}"

    def _folder_of(self, sha256: str) -> str:
        return f"{self._folder_text}/{sha256[:2]}"


class RemoteBlobs:
    """Blobs in an object store (obstore: S3, and memory in tests). One conditional write per object."""

    def __init__(self, store: Any, staging: Path) -> None:  # noqa: ANN401 - obstore has no common type
        self._store = store
        self.staging = staging

    def adopt(self, part: Path) -> StoredBlob:
        """Upload and remove the file. The server acknowledges when the object is durable."""
        with os_errors():
            blob = self.put(part.read_bytes())
            part.unlink()
        return blob

    def adopt_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Upload one after the other."""
        errors: dict[PartFile, ClinicalError] = {}
        _each(parts, errors, lambda part: self.adopt(part.path))
        for part in parts:
            part.close()
        return [errors.get(part) for part in parts]

    def place_all(self, parts: Sequence[PartFile]) -> list[ClinicalError | None]:
        """Upload: there is nothing faster that is less."""
        return self.adopt_all(parts)

    def settle(self, names: Sequence[str]) -> None:
        """Do nothing: what is uploaded is durable."""

    def put(self, data: bytes) -> StoredBlob:
        """Upload; an object that is present already is left as it is."""
        from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415

        blob = StoredBlob(hashlib.sha256(data).hexdigest(), len(data))
        try:
            # In one request: a multipart upload cannot be conditional.
            self._store.put(_key(blob.sha256), data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            pass
        except BaseError as exc:
            raise _away(exc) from None
        return blob

    def get(self, sha256: str) -> bytes:
        """Download and check."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        _check_name(sha256)
        try:
            data = bytes(self._store.get(_key(sha256)).bytes())
        except FileNotFoundError:  # obstore's NotFoundError is one
            raise absent() from None
        except BaseError as exc:
            raise _away(exc) from None
        return _checked(data, sha256)

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        """Yield a temporary copy; it carries the suffix that `sweep` looks for."""
        copy = self.staging / f"{uuid.uuid4().hex}.part"
        with os_errors():
            copy.touch(mode=0o600)
            copy.write_bytes(self.get(sha256))
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def beginning(self, sha256: str, count: int) -> bytes:
        """Ask for a range."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        _check_name(sha256)
        try:
            return bytes(self._store.get_range(_key(sha256), start=0, length=count))
        except FileNotFoundError:
            raise absent() from None
        except BaseError as exc:
            raise _away(exc) from None

    def remove(self, sha256: str) -> None:
        """Delete the object."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        _check_name(sha256)
        try:
            self._store.delete(_key(sha256))
        except FileNotFoundError:
            return
        except BaseError as exc:
            raise _away(exc) from None

    def free_bytes(self) -> int:
        """Return the free space of the staging folder: it takes an object first."""
        with os_errors():
            return shutil.disk_usage(self.staging).free

    def sweep(self, older_than_s: float) -> int:
        """Remove stale parts."""
        return _sweep(self.staging, older_than_s)


def _each(
    parts: Sequence[PartFile], errors: dict[PartFile, ClinicalError], step: Callable[[PartFile], object]
) -> None:
    """Do a step for each part that is still well; note the error of one that then is not."""
    for part in parts:
        if part not in errors:
            try:
                step(part)
            except ClinicalError as error:
                errors[part] = error


def _hash_of(file: Any) -> StoredBlob:  # noqa: ANN401 - any binary file
    digest = hashlib.sha256()
    size = 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return StoredBlob(digest.hexdigest(), size)


def _checked(data: bytes, sha256: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Fault("an object of the blob store is damaged")
    return data


def _check_name(sha256: str) -> None:
    # The name becomes a path; nothing but a hash may.
    if not _SHA256.fullmatch(sha256):
        raise absent()


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _away(exc: Exception) -> ClinicalError:
    # obstore names what will not pass: permission, authentication, unknown configuration.
    if type(exc).__name__ in {"PermissionDeniedError", "UnauthenticatedError", "UnknownConfigurationKeyError"}:
        return Fault(f"the object store refuses us ({type(exc).__name__})")
    return Busy("the object store does not answer")


def _sweep(staging: Path, older_than_s: float) -> int:
    removed = 0
    for part in staging.glob("*.part"):
        try:
            if part.stat().st_mtime < time.time() - older_than_s:
                part.unlink()
                removed += 1
        except FileNotFoundError:  # its writer has just adopted it
            continue
    return removed
