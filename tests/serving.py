"""Servers that find their database as a later start does: a first one makes it, with three processes waiting.

That a first start does so is shown by tests/e2e/test_serve.py and by the demonstration.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from consilium.demo.server import RunningServer, running_server
from record_store.testing import database


def prepared(folder: Path) -> Path:
    """Return `folder/data` with a migrated database in it."""
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    database(data).dispose()
    return data


@contextmanager
def serving(folder: Path, settings: Mapping[str, str]) -> Iterator[RunningServer]:
    """Run `consilium serve` over `folder/data` until the block ends."""
    prepared(folder)
    with running_server(folder, settings) as server:
        yield server
