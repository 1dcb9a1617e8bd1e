"""Make clinical/icd_10_cm.xz: codes and titles of ICD-10-CM, out of what `simple-icd-10-cm` carries (11 MB).

ICD-10-CM is made by the CDC's National Center for Health Statistics, a work of the United States Government and in
the public domain; simple-icd-10-cm is under the MIT licence. Run it with python -m.

Each line tells how many characters it shares with the one before (one character, from "!" on) and what follows;
codes first, then their titles, then chapters and blocks. 98,186 codes with titles take 230 kB.
"""

import lzma
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RELEASE = "2026-04"
_TARGET = Path(__file__).parents[2] / "clinical" / "icd_10_cm.xz"
_FIRST, _MOST = 33, 93


def shortened(lines: Iterable[str]) -> Iterator[str]:
    """Yield each line without what it shares with the one before."""
    before = ""
    for line in lines:
        shared = min(_shared(before, line), _MOST)
        yield chr(_FIRST + shared) + line[shared:]
        before = line


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def compiled(source: Any) -> bytes:  # noqa: ANN401 - a module that has no types
    """Return the file. source: the module simple_icd_10_cm."""
    # A block that holds one category (C7B) has its name, and stands twice.
    every = dict.fromkeys(source.get_all_codes(True))
    codes = [one for one in every if source.is_category_or_subcategory(one)]
    groups = [one for one in every if not source.is_category_or_subcategory(one)]
    head = f"{RELEASE} {len(codes)} {len(groups)}"
    lines = [
        head,
        *shortened(codes),
        *shortened(source.get_description(one) for one in codes),
        *(f"{one}\t{source.get_description(one)}" for one in groups),
    ]
    return lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    """Write the file."""
    import simple_icd_10_cm  # type: ignore[import-untyped]  # noqa: PLC0415 - a tool of developers

    _TARGET.write_bytes(compiled(simple_icd_10_cm))
    sys.stdout.write(f"{_TARGET.name}: {_TARGET.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
