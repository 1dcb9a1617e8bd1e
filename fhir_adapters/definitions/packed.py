"""The compiled definitions beside this file, JSON as xz: written by the `compile` modules, read by others."""

import json
import lzma
from importlib.resources import files
from typing import Any


def unpacked(name: str) -> Any:  # noqa: ANN401 - whatever that table is
    """Return the table of a file (`r4.json.xz`)."""
    return json.loads(lzma.decompress(files(__package__).joinpath(name).read_bytes()))


def packed(table: object) -> bytes:
    """Return the file of a table; the same table gives the same bytes."""
    text = json.dumps(table, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
