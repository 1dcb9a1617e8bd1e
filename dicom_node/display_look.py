"""How a client wants a frame to look (PS3.18 8.3.5); `dicom_node.display` makes it look so."""

from dataclasses import dataclass

FUNCTIONS = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}  # PS3.18 8.3.5.1.4


@dataclass(frozen=True, slots=True)
class Look:
    """How a frame is to look.

    window: (centre, width, a value of FUNCTIONS) in values after the modality transform; None: the image's own.
    region: the part of the image (left, top, width, height); None: all of it. Negative width or height flips.
    size: (width, height) that it must fit into, in pixels; enlarge: whether it is to fill that.
    kind: "JPEG" or "PNG". quality: of a JPEG, 1 to 100.
    """

    size: tuple[int, int]
    kind: str
    window: tuple[float, float, str] | None = None
    region: tuple[float, float, float, float] | None = None
    quality: int = 90
    enlarge: bool = False
