"""The files in which processes keep their metrics: those of dead ones are folded into one for each kind.

prometheus_client leaves a file of each kind behind for every process that there ever was, and each scrape reads
them all: a child that dies at its start again and again leaves thousands. The sums stay as they were, also when
who folds is killed: the new sums name the files that are in them, behind what prometheus_client reads.
"""

import fcntl
import os
import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import structlog

from consilium.processes import lives

FOLDED = 0  # in the place of a process ID
_NAME = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_([0-9]+)\.db")
_LENGTH = struct.Struct("<L")  # of the names, at the very end
log = structlog.get_logger()

_Values = dict[str, tuple[float, float]]  # by prometheus_client's key: the value, and when it was set


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep the files as they are while they are read: a sum over half a fold would be wrong.

    Where nothing can be locked (a network file system without locks, a full disk) nobody folds either.
    """
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(_lock(folder, fcntl.LOCK_SH))
        yield


def written(folder: Path) -> list[str]:
    """Return the files that hold something which no other one does.

    Over one that is being made, and empty, prometheus_client fails.
    """
    found, folded = [], {mark for path in folder.glob(f"*_{FOLDED}.db") for mark in _folded_into(path)}
    for path in folder.glob("*.db"):
        with suppress(FileNotFoundError):  # gauges of who has just died
            if path.stat().st_size and _mark(path) not in folded:
                found.append(str(path))
    return found


def fold_metrics() -> None:
    """Fold the files of a `consilium serve` from one of its children; another process leaves its own alone.

    Its parent clears away what an earlier run has left, and all that write there are seen from here. Where roles
    run apart they may be containers that share a folder: another's process would look dead.
    """
    if "CONSILIUM_STATUS_FD" not in os.environ:
        return
    try:
        fold_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    except OSError as error:
        log.warning("metrics of dead processes not folded", why=error.strerror)


def fold_dead(folder: Path) -> None:
    """Fold the files of processes that live no more; not while somebody reads or folds them: the next one will."""
    try:
        with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for kind, dead in _files_of_the_dead(folder).items():
                if not kind.startswith("gauge_live"):  # what is only of the living is gone with them
                    _fold(kind, dead, folder / f"{kind}_{FOLDED}.db")
                for path in dead:
                    path.unlink()
    except BlockingIOError:
        return


@contextmanager
def _lock(folder: Path, how: int) -> Iterator[None]:
    with (folder / "lock").open("a+") as held:  # over NFS who locks to read has to have it open to read
        fcntl.flock(held, how)
        yield


def _files_of_the_dead(folder: Path) -> dict[str, list[Path]]:
    dead = defaultdict(list)
    for path in folder.iterdir():
        if (named := _NAME.fullmatch(path.name)) and int(named[2]) != FOLDED and not lives(int(named[2])):
            dead[named[1]].append(path)
    return dead


def _fold(kind: str, dead: list[Path], into: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - seldom, and after the folder is known

    values: _Values = {}
    marks, before = {path: _mark(path) for path in dead}, _folded_into(into)
    for path in (into, *(path for path, mark in marks.items() if mark not in before)):
        for key, (value, set_at) in _values(path).items():
            known, known_at = values.get(key, (0.0, 0.0))
            if kind.startswith("gauge"):  # ours are the most recent of all processes
                values[key] = (value, set_at) if set_at >= known_at else (known, known_at)
            else:
                values[key] = known + value, 0.0
    part = into.with_suffix(".part")
    part.unlink(missing_ok=True)
    folded = MmapedDict(str(part))  # type: ignore[no-untyped-call]
    for key, (value, set_at) in values.items():
        folded.write_value(key, value, set_at)  # type: ignore[no-untyped-call]
    folded.close()  # type: ignore[no-untyped-call]
    names = "\n".join(marks.values()).encode()
    with part.open("ab") as file:
        file.write(names + _LENGTH.pack(len(names)))
    part.replace(into)


def _mark(path: Path) -> str:
    """Return what tells a file also from the one of a later process with the same ID."""
    status = path.stat()
    return f"{path.name} {status.st_ino} {status.st_mtime_ns}"


def _folded_into(path: Path) -> frozenset[str]:
    """Return the marks of the files whose values are in these sums; a kill has left them there."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(-_LENGTH.size, os.SEEK_END)
        (length,) = _LENGTH.unpack(file.read())
        file.seek(-_LENGTH.size - length, os.SEEK_END)
        return frozenset(file.read(length).decode().splitlines())
    return frozenset()


def _values(path: Path) -> _Values:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    try:
        read = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        return {key: (value, set_at) for key, value, set_at, _ in read}
    except (FileNotFoundError, struct.error):  # its process was killed while it made the file
        return {}
