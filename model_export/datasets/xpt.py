"""SAS transport files, version 5 (XPORT), as NHANES and the FDA publish them: bytes in, columns out.

Layout: SAS technical note TS-140, "The Record Layout of a Data Set in SAS Transport (XPORT) Format". Records of 80
bytes; numbers are IBM System/360 floating point, big-endian, possibly cut to 2..7 bytes; a missing value is one of
`.`, `_`, `A`..`Z` followed by zeros. Version 8 files and files of several data sets are refused, never half read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clinical.errors import IncorrectInput

Column = NDArray[np.float64] | NDArray[np.str_]
RECORD = 80
NAMESTR = 140  # bytes a variable; 136 on VAX/VMS
NUMERIC, CHARACTER = 1, 2
_MISSING = np.frombuffer(b"._ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    kind: int
    length: int
    position: int


class _Reader:
    """Walks over the records of a file; every step says what it wanted."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data, self._at = name, data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises IncorrectInput when the file ends before."""
        part = self._data[self._at : self._at + count]
        if len(part) < count:
            raise self.refused("ends too early")
        self._at += count
        return part

    def header(self, kind: str) -> bytes:
        """Return the next record, which must be the header of this kind."""
        record = self.take(RECORD)
        if not record.startswith(f"HEADER RECORD*******{kind:<8}HEADER RECORD!!!!!!!".encode()):
            raise self.refused(f"is no SAS transport file of version 5: its {kind} header is missing")
        return record

    def rest(self) -> bytes:
        """Return everything that follows."""
        return self._data[self._at :]

    def refused(self, why: str) -> IncorrectInput:
        """Return the error that names the file."""
        return IncorrectInput(f"{self.name} {why}")


def read_xpt(path: Path) -> dict[str, Column]:
    """Return the columns of the one data set by name: float64 with NaN for missing, or text without padding.

    Raises IncorrectInput when the file is not exactly what the layout says.
    """
    try:
        reader = _Reader(path.name, path.read_bytes())
    except OSError as problem:
        raise IncorrectInput(f"{path.name} cannot be read") from problem
    reader.header("LIBRARY")
    reader.take(2 * RECORD)  # who wrote it and when
    member = reader.header("MEMBER")
    if member[74:78] != f"{NAMESTR:04d}".encode():
        raise reader.refused(f"describes variables in other than {NAMESTR} bytes")
    reader.header("DSCRPTR")
    reader.take(2 * RECORD)
    variables = _variables(reader, _count(reader, reader.header("NAMESTR")))
    reader.header("OBS")
    width = variables[-1].position + variables[-1].length
    table = _observations(reader, width)
    return {one.name: _column(table[:, one.position : one.position + one.length], one) for one in variables}


def _count(reader: _Reader, header: bytes) -> int:
    digits = header[54:58]
    if not digits.isdigit() or not int(digits):
        raise reader.refused("does not say how many variables it has")
    return int(digits)


def _variables(reader: _Reader, count: int) -> list[_Variable]:
    packed = reader.take(-(-count * NAMESTR // RECORD) * RECORD)
    variables, position = [], 0
    for start in range(0, count * NAMESTR, NAMESTR):
        one = packed[start : start + NAMESTR]
        kind, length = int.from_bytes(one[0:2]), int.from_bytes(one[4:6])
        name = one[8:16].decode("ascii", "replace").strip()
        found = _Variable(name, kind, length, int.from_bytes(one[84:88]))
        lengths = range(2, 9) if kind == NUMERIC else range(1, 201)
        if kind not in {NUMERIC, CHARACTER} or length not in lengths or found.position != position or not name:
            raise reader.refused("has a variable that is not described as the format asks")
        variables.append(found)
        position += length
    if len({one.name for one in variables}) != count:
        raise reader.refused("names a variable twice")
    return variables


def _observations(reader: _Reader, width: int) -> NDArray[np.uint8]:
    """Return the rows (n, width). The last record is filled up with blanks, which can look like more rows."""
    data = reader.rest()
    if len(data) % RECORD or b"HEADER RECORD*******" in data:
        raise reader.refused("is cut off, or holds more than one data set")
    rows = len(data) // width
    filling = RECORD - 1
    while rows and len(data) - (rows - 1) * width <= filling and not data[(rows - 1) * width :].strip(b" "):
        rows -= 1
    if data[rows * width :].strip(b" "):
        raise reader.refused("ends within a row")
    return np.frombuffer(data, np.uint8, rows * width).reshape(rows, width)


def _column(cells: NDArray[np.uint8], variable: _Variable) -> Column:
    if variable.kind == CHARACTER:
        packed = np.ascontiguousarray(cells).tobytes()
        step = variable.length
        texts = [
            packed[at : at + step].decode("cp1252", "replace").rstrip(" \0") for at in range(0, len(packed), step)
        ]
        return np.array(texts, np.str_)
    padded = np.zeros((len(cells), 8), np.uint8)
    padded[:, : variable.length] = cells
    return from_ibm(padded)


def from_ibm(cells: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return IBM doubles (n, 8) as float64; NaN for SAS's missing values.

    sign 1 bit, exponent 7 bits of base 16 with excess 64, fraction 56 bits: three more than float64 holds, so the
    last are rounded to nearest even.
    """
    fraction = np.zeros(len(cells), np.uint64)
    for byte in cells[:, 1:].T:
        fraction = (fraction << np.uint64(8)) | byte.astype(np.uint64)
    exponent = 4 * ((cells[:, 0] & 0x7F).astype(np.int32) - 64) - 56
    values = np.ldexp(fraction.astype(np.float64), exponent)
    values = np.where(cells[:, 0] & 0x80, -values, values)
    missing = np.isin(cells[:, 0], _MISSING) & (fraction == 0)
    return np.asarray(np.where(missing, np.nan, values))
