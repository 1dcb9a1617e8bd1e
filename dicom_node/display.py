"""A frame as a browser shows it (PS3.18 8.3.5): windowed or in colour, cut and scaled, as JPEG or PNG.

Runs in the decoder's child process. Nothing is drawn over the pixels: no annotation, no overlay, no presentation
state. MONOCHROME1 is shown as it is meant to be seen, its smallest value white.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput
from dicom_node.display_look import Look
from dicom_node.frames import stored_frame
from dicom_node.functional_groups import of_frame
from dicom_node.grey import Grey, grey_of
from dicom_node.ultrasound import rgb_of

GREY = frozenset(("MONOCHROME1", "MONOCHROME2"))


def picture(ds: Dataset, index: int, look: Look) -> bytes:
    """Return a frame, counted from 0, as an encoded picture. Raises IncorrectInput, or whatever a codec raises."""
    stored = stored_frame(ds, index)
    if stored.shape[:2] != (ds.Rows, ds.Columns):
        raise IncorrectInput("the decoded image has another size than it declares")
    flat = of_frame(ds, index)
    if flat.get("PhotometricInterpretation") in GREY:
        pixels = _windowed(stored, flat, look.window)
    else:
        pixels = rgb_of(stored, flat)
    image = _scaled(Image.fromarray(_cut(pixels, look.region)), look)
    buffer = io.BytesIO()
    if look.kind == "JPEG":
        image.save(buffer, "JPEG", quality=look.quality)
    else:
        image.save(buffer, look.kind)
    return buffer.getvalue()


def _windowed(
    stored: NDArray[np.generic], ds: Dataset, window: tuple[float, float, str] | None
) -> NDArray[np.uint8]:
    if window is not None:
        # In place of the image's own, so that MONOCHROME1 turns it over as it turns that one over.
        ds = _with(ds, WindowCenter=window[0], WindowWidth=window[1], VOILUTFunction=window[2])
    grey = grey_of(stored, ds)
    if grey.window is None:
        return _levels(grey.pixels, *_extent(grey), "LINEAR_EXACT")
    return _levels(grey.pixels, *grey.window, str(ds.get("VOILUTFunction") or "LINEAR"))


def _with(ds: Dataset, **attributes: object) -> Dataset:
    changed = Dataset()
    changed.update({tag: ds.get_item(tag) for tag in ds.keys()})  # noqa: SIM118 - elements are not read
    changed.file_meta = ds.file_meta
    for name, value in attributes.items():
        setattr(changed, name, value)
    return changed


def _extent(grey: Grey) -> tuple[float, float]:
    """Return a window (centre, width) over the tissue of an image that says none."""
    tissue = grey.pixels if grey.padding is None else grey.pixels[~grey.padding]
    low, high = np.percentile(tissue if tissue.size else grey.pixels, (0.5, 99.5))
    if high - low < 1e-6:  # nearly all of one value: a mask, or an empty image
        low, high = grey.pixels.min(), grey.pixels.max()
    return float(low + high) / 2, max(float(high - low), 1e-6)


def _levels(pixels: NDArray[np.float32], centre: float, width: float, function: str) -> NDArray[np.uint8]:
    """Apply a VOI function (PS3.3 C.11.2.1.2, C.11.2.1.3) onto 0 to 255."""
    if function == "SIGMOID":
        shown = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (pixels - centre) / width, -80.0, 80.0)))
    elif function == "LINEAR_EXACT":
        shown = ((pixels - centre) / width + 0.5) * 255.0
    else:  # the linear function is centred half a step below its centre and one step narrower
        shown = ((pixels - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5) * 255.0
    return np.asarray(np.rint(np.clip(shown, 0.0, 255.0)), np.uint8)


def _cut(pixels: NDArray[np.uint8], region: tuple[float, float, float, float] | None) -> NDArray[np.uint8]:
    if region is None:
        return pixels
    left, top, width, height = region
    rows, columns = pixels.shape[:2]
    box = pixels[_span(top, abs(height), rows), _span(left, abs(width), columns)]
    if not box.size:
        raise IncorrectInput("the viewport lies outside the image")
    flipped = box[:: -1 if height < 0 else 1, :: -1 if width < 0 else 1]
    return np.ascontiguousarray(flipped)


def _span(start: float, length: float, limit: int) -> slice:
    first = min(max(int(start), 0), limit)
    return slice(first, min(max(int(start + length), first), limit))


def _scaled(image: Any, look: Look) -> Any:  # noqa: ANN401 - Pillow's
    """Fit into a size without changing the proportions (PS3.18 8.3.5.1.3)."""
    scale = min(look.size[0] / image.width, look.size[1] / image.height, *(() if look.enlarge else (1.0,)))
    wanted = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image if wanted == image.size else image.resize(wanted, Image.Resampling.BILINEAR)
