"""Folders of data sets: where they are, which set a folder holds, and a digest that names its content."""

import csv
import gzip
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from clinical.errors import IncorrectInput

Layout = Mapping[str, tuple[str, ...]]
_NOT_DATA = ("README", "SHA256SUMS", "LICENSE", ".")  # prose about the data, and files of the file manager


def data_dir(name: str) -> Path | None:
    """Return the folder of a data set, or None when this machine does not hold it.

    CONSILIUM_DATASETS_DIR names the folder of all sets; otherwise `shared/data` beside the repository.
    """
    root = os.environ.get("CONSILIUM_DATASETS_DIR")
    base = Path(root) if root else Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = base / name
    return folder if folder.is_dir() else None


def folder_digest(folder: Path) -> str:
    """Return the sha256 (hex) of every data file's relative path and content, whatever the folder is called.

    README, LICENSE, SHA256SUMS and hidden files are left out: a reworded licence note is not other data.
    """
    whole = hashlib.sha256()
    files = [path for path in folder.rglob("*") if path.is_file() and not _is_prose(path.relative_to(folder))]
    for path in sorted(files, key=lambda file: file.relative_to(folder).as_posix()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        # NUL and newline cannot stand in a name or a hex digest: two folders never give the same text.
        whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


def _is_prose(relative: Path) -> bool:
    return relative.name.startswith(_NOT_DATA) or any(part.startswith(".") for part in relative.parts)


def sets_at(data: Path, layout: Layout) -> dict[str, Path]:
    """Return the sets that lie at `data`, by name, in the order of the layout.

    data: the folder of one set, or a folder of several under their usual names. Other sets that lie beside
        the one given, under their usual names, are returned too.
    layout: what each set must hold: relative paths or patterns (`DEMO_*.XPT`); `file.csv.gz#column` also asks for
        a column of the table and so tells sets with equal file names apart.

    Raises IncorrectInput when nothing is recognised, or when the one folder could be several sets.
    """
    here = data.resolve() if ".." in data.parts else data.absolute()
    if not here.is_dir():
        raise IncorrectInput(f"{data} is not a folder")
    within = _by_name(here, layout)
    if within:
        return within
    name = _recognised(here, layout)
    if name is None:
        within = _by_content(here, layout)
        if not within:
            raise IncorrectInput(_nothing_recognised(data, layout))
        return within
    return _ordered({**_by_name(here.parent, layout), name: here}, layout)


def _by_name(parent: Path, layout: Layout) -> dict[str, Path]:
    return {name: parent / name for name, needs in layout.items() if _holds(parent / name, needs)}


def _by_content(parent: Path, layout: Layout) -> dict[str, Path]:
    """Return the sets in sub-folders whose names say nothing, such as a download's."""
    found: dict[str, Path] = {}
    for folder in sorted(child for child in parent.iterdir() if child.is_dir()):
        name = _recognised(folder, layout)
        if name is not None and name not in found:
            found[name] = folder
    return _ordered(found, layout)


def _recognised(folder: Path, layout: Layout) -> str | None:
    """Return the set that this folder is: by its content, and among several by the folder's name."""
    possible = [name for name, needs in layout.items() if _holds(folder, needs)]
    named = [name for name in possible if name in folder.name]  # also `nhanes_diabetes-2024-copy`
    if len(named) == 1 or len(possible) == 1:
        return named[0] if named else possible[0]
    if not possible:
        return None
    raise IncorrectInput(
        f"the folder {folder.name} could be {' or '.join(named or possible)}: give the folder the name of its set"
    )


def _holds(folder: Path, needs: Iterable[str]) -> bool:
    return folder.is_dir() and all(_has(folder, need) for need in needs)


def _has(folder: Path, need: str) -> bool:
    name, _, column = need.partition("#")
    return any(not column or column in _columns(path) for path in folder.glob(name))


def _columns(path: Path) -> list[str]:
    """Return the header of a CSV, gzipped or not; empty when it cannot be read as one."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.readline(65536).decode("utf-8-sig")
        return next(csv.reader(io.StringIO(head)), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error):
        return []


def _ordered(found: Mapping[str, Path], layout: Layout) -> dict[str, Path]:
    return {name: found[name] for name in layout if name in found}


def _nothing_recognised(data: Path, layout: Layout) -> str:
    wanted = "; ".join(
        f"{name} ({', '.join(need.replace('#', ' with column ') for need in needs)})"
        for name, needs in layout.items()
    )
    return f"no known data set at {data}. Give the folder of one set, or a folder that holds it by name: {wanted}"
