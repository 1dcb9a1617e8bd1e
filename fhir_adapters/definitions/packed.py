"""The compiled definitions beside this file, JSON in a gzip: written by the `compile` modules, read by others."""

import gzip
import json
from importlib.resources import files
from typing import Any


def unpacked(name: str) -> Any:  # noqa: ANN401 - whatever that table is
    """Return the table of a file (`r4.json.gz`)."""
    return json.loads(gzip.decompress(files(__package__).joinpath(name).read_bytes()))


def packed(table: object) -> bytes:
    """Return the file of a table; the same table gives the same bytes."""
    text = json.dumps(table, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)
