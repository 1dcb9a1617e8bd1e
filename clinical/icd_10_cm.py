"""ICD-10-CM: which codes there are, their titles, and what stands above them.

`clinical/icd_10_cm.xz` is made by `fhir_adapters.definitions.compile_icd_10_cm` of the release that RELEASE names.
ICD-10-CM is a work of the CDC's National Center for Health Statistics, in the public domain. Read when it is first
asked (0.1 s); chapters and blocks ("A00-A09") have titles here and are no codes of records.
"""

import lzma
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files

_FIRST = 33
_CATEGORY = 3


def is_code(code: str) -> bool:
    """Tell whether a code is one of ICD-10-CM, written with its point ("E11.9"); categories are ("E11")."""
    return code in _titles()


def title(code: str) -> str | None:
    """Return the title of a code, or of a block or chapter; None when there is none such."""
    return _titles().get(code) or _groups().get(code)


def normal(code: str) -> str | None:
    """Return a code as ICD-10-CM writes it ("e119" is E11.9), None when it is none."""
    bare = code.strip().upper().replace(".", "")
    pointed = f"{bare[:_CATEGORY]}.{bare[_CATEGORY:]}" if len(bare) > _CATEGORY else bare
    return pointed if pointed in _titles() else None


def parent(code: str) -> str | None:
    """Return the code above ("E11" of "E11.9"), None above a category or of what is no code."""
    if code not in _titles():
        return None
    bare = code.replace(".", "")[:-1]
    while len(bare) >= _CATEGORY:
        above = f"{bare[:_CATEGORY]}.{bare[_CATEGORY:]}" if len(bare) > _CATEGORY else bare
        if above in _titles():
            return above
        bare = bare[:-1]  # X marks a place that has no meaning: T36.0X1A is below T36.0X1
    return None


def ancestors(code: str) -> list[str]:
    """Return the codes above, the nearest first; without blocks and chapters."""
    found: list[str] = []
    above = parent(code)
    while above is not None:
        found.append(above)
        above = parent(above)
    return found


def release() -> str:
    """Return the release, as "2026-04"."""
    return _read()[0].split()[0]


@cache
def _titles() -> Mapping[str, str]:
    lines = _read()
    count = int(lines[0].split()[1])
    codes, titles = lines[1 : count + 1], lines[count + 1 : 2 * count + 1]
    return dict(zip(_whole(codes), _whole(titles), strict=True))


@cache
def _groups() -> Mapping[str, str]:
    lines = _read()
    return dict(line.split("\t", 1) for line in lines[2 * int(lines[0].split()[1]) + 1 :])


def _read() -> list[str]:
    return lzma.decompress(files("clinical").joinpath("icd_10_cm.xz").read_bytes()).decode().split("\n")


def _whole(lines: Sequence[str]) -> Iterator[str]:
    before = ""
    for line in lines:
        before = before[: ord(line[0]) - _FIRST] + line[1:]
        yield before
