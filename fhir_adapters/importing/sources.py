"""The files of an import: found, told apart, opened, and known again by their content."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from clinical.errors import IncorrectInput

_BLOCK = 1 << 20
_NDJSON = (".ndjson", ".jsonl")
_JSON = (".json",)
_CSV = (".csv",)
# Synthea writes what all patients' bundles refer to into files of these names; they go first.
_FIRST = ("hospitalInformation", "practitionerInformation")


class Layout(StrEnum):
    """What a file is."""

    NDJSON = "ndjson"
    DOCUMENT = "document"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Source:
    """A file. size: bytes on disk."""

    path: Path
    layout: Layout
    size: int

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Yield its content, unpacked. Raises IncorrectInput when it cannot be read to its end."""
        try:
            with self.path.open("rb") as raw:
                if self.path.suffix.lower() != ".gz":
                    yield raw
                    return
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast("BinaryIO", unpacked)
        except (OSError, EOFError, zlib.error) as problem:
            words = problem.strerror if isinstance(problem, OSError) and problem.strerror else "it is damaged"
            raise IncorrectInput(f"the file cannot be read: {words}") from None

    def digest(self) -> str:
        """Return the sha256 of the file as it lies there."""
        made = hashlib.sha256()
        try:
            with self.path.open("rb") as raw:
                while block := raw.read(_BLOCK):
                    made.update(block)
        except OSError as problem:
            raise IncorrectInput(f"the file cannot be read: {problem.strerror}") from None
        return made.hexdigest()


def find(paths: Iterable[Path], *, tables: bool = False) -> list[Source]:
    """Return the files named, and those within the folders named, in the order in which they are imported.

    tables: also .csv.

    Raises IncorrectInput for a path that is not there, a named file of another kind, and when nothing is found.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        if path.is_dir():
            within = sorted(one for one in path.rglob("*") if one.is_file())
            found |= {one: source for one in within if (source := _source(one, tables)) is not None}
            continue
        if not path.is_file():
            raise IncorrectInput(f"there is no file or folder {path}")
        source = _source(path, tables)
        if source is None:
            kinds = ", ".join((*_JSON, *_NDJSON, *(_CSV if tables else ())))
            raise IncorrectInput(f"{path} is none of {kinds}, each also with .gz")
        found[path] = source
    if not found:
        raise IncorrectInput("there is no file to import in the folders named")
    return sorted(found.values(), key=lambda one: not one.path.name.startswith(_FIRST))


def _source(path: Path, tables: bool) -> Source | None:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_NDJSON):
        return Source(path, Layout.NDJSON, path.stat().st_size)
    if tables and name.endswith(_CSV):
        return Source(path, Layout.TABLE, path.stat().st_size)
    return Source(path, Layout.DOCUMENT, path.stat().st_size) if name.endswith(_JSON) else None
