"""What is said of one lesion: what its record holds, what its image gave, and how probable malignancy is.

Record and image are read apart and joined by the model; each may be absent, and the assessment says which it had.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from clinical.codes import Coding
from clinical.conformal import Answer
from clinical.errors import IncorrectInput
from clinical.inputs import InputUsed

# Feature name -> what is known of it: a number, or the names of the values that hold. Absent: not known.
RecordValues = Mapping[str, float | frozenset[str]]
NOTHING_KNOWN: RecordValues = MappingProxyType({})
_FLOAT = np.dtype("<f4")


class Kind(StrEnum):
    """How a feature of the record is told."""

    NUMBER = "number"
    CHOICE = "choice"  # one of its values
    SEVERAL = "several"  # any number of its values at once


@dataclass(frozen=True, slots=True)
class RecordValue:
    """One value that a feature may have. codes: what it is called in records."""

    name: str
    label: str
    codes: tuple[Coding, ...]


@dataclass(frozen=True, slots=True)
class RecordFeature:
    """One thing that a record tells.

    codes: what the Observation (or its component) is called; empty for what stands elsewhere (age).
    of_lesion: True when it describes the lesion; the others describe the patient, and alone are no lesion data.
    unit, minimum, maximum: of a number, in UCUM; "" and None otherwise. values: of the other kinds.
    look_back_days: how old it may be, None for any age.
    """

    name: str
    label: str
    kind: Kind
    of_lesion: bool
    codes: tuple[Coding, ...]
    values: tuple[RecordValue, ...]
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    look_back_days: int | None = None


class Basis(StrEnum):
    """What an assessment was made from."""

    RECORD = "record"
    IMAGE = "image"
    BOTH = "both"


BASIS_IN_WORDS = MappingProxyType(
    {Basis.RECORD: "record only", Basis.IMAGE: "image only", Basis.BOTH: "record and image"}
)


class Side(StrEnum):
    """Which breast, in DICOM's letters (PS3.3 C.7.3.1, Laterality)."""

    LEFT = "L"
    RIGHT = "R"


SIDE_IN_WORDS = MappingProxyType({Side.LEFT: "left breast", Side.RIGHT: "right breast"})
ANSWER_IN_WORDS = MappingProxyType(
    {Answer.NEGATIVE: "benign", Answer.POSITIVE: "malignant", Answer.UNSURE: "not sure enough, refer"}
)


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """What the image network made of a lesion, for the model that joins it with a record.

    shape: of the array. data: float32, little-endian, in C order.
    """

    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if int(np.prod(self.shape)) * _FLOAT.itemsize != len(self.data):
            raise IncorrectInput("image tokens do not have the size of their shape")

    @property
    def array(self) -> NDArray[np.float32]:
        """The tokens, float32 in their shape."""
        return np.frombuffer(self.data, _FLOAT).reshape(self.shape).astype(np.float32)


def image_tokens(array: NDArray[np.floating]) -> ImageTokens:
    """Return an array as tokens."""
    return ImageTokens(tuple(array.shape), np.ascontiguousarray(array, _FLOAT).tobytes())


@dataclass(frozen=True, slots=True)
class Occlusion:
    """How far the image's probability falls when a part of the square around the lesion is covered.

    box: of the square, (row0, column0, row1, column1) in pixels of the image; it may reach beyond it.
    changes: rows of cells that divide the square evenly; above 0: this part speaks for malignancy.
    """

    box: tuple[int, int, int, int]
    changes: tuple[tuple[float, ...], ...]

    @property
    def cells(self) -> tuple[tuple[float, float, float, float, float], ...]:
        """(row, column, height, width, change) of every cell, in pixels of the image."""
        row0, column0, row1, column1 = self.box
        height, width = (row1 - row0) / len(self.changes), (column1 - column0) / len(self.changes[0])
        return tuple(
            (row0 + r * height, column0 + c * width, height, width, change)
            for r, line in enumerate(self.changes)
            for c, change in enumerate(line)
        )


@dataclass(frozen=True, slots=True)
class LesionAssessment:
    """How probable it is that a finding is malignant, as it was said when its image was read.

    finding: its number. probability: 0..1 from everything that was known; image_probability: from the image alone.
    Both are rounded to three decimals. answer: whether one class may be named (clinical.conformal).
    inputs: what of the record was used. missing: labels of what the record did not hold.
    occlusion: where the image looks malignant. side: which breast it shows, None when the image does not say.
    """

    finding: int
    outcome: Coding
    basis: Basis
    probability: float
    image_probability: float
    answer: Answer
    inputs: tuple[InputUsed, ...]
    missing: tuple[str, ...]
    tokens: ImageTokens
    occlusion: Occlusion | None = None
    side: Side | None = None

    @property
    def in_words(self) -> str:
        """What is said, for people: the same words in report, Observation and page."""
        return (
            f"probability of malignancy {self.probability * 100:.1f} % ({BASIS_IN_WORDS[self.basis]};"
            f" {ANSWER_IN_WORDS[self.answer]})"
        )
