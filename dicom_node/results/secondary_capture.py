"""A reading as a Secondary Capture (PS3.3 A.8): the image with outlines and words burned in.

For archives and viewers that take nothing else. It states no pixel spacing, so nobody measures in it.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from clinical.errors import IncorrectInput
from clinical.finding import Finding, Reading, ReadingMask
from dicom_node.results.context import NOT_FOR_DIAGNOSIS, ResultContext
from dicom_node.results.finish import finish
from dicom_node.results.plain import DERIVED_FROM, begin, image_meant, in_words, verdict
from dicom_node.results.source import laterality_of, normalise_source

LINE_COLOUR, WORDS_COLOUR = (255, 210, 0), (255, 255, 255)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_WORDS_PER_SIDE = 50  # of the shorter side: a line's height


def encode_secondary_capture(
    reading: Reading, mask: ReadingMask, source: Dataset, context: ResultContext
) -> Dataset:
    """Return context.picture in colour with words below it, also when nothing was found.

    Burned in: the outline and number of each finding; below, where nothing is covered, what was found by which
    model, and that it is not for diagnosis.
    Raises IncorrectInput without a picture, Unsupported when the image cannot be referred to.
    """
    del mask  # the outlines are in the findings
    if context.picture is None:
        raise IncorrectInput("a secondary capture needs the picture of its image")
    header = normalise_source(source)
    pixels = _drawn(reading, context.picture)
    ds = begin(header, context, SecondaryCaptureImageStorage, "OT")
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = header.get("PatientOrientation", "")
    ds.Laterality = laterality_of(header)
    ds.SourceImageSequence = [image_meant(reading, DERIVED_FROM)]
    ds.DerivationDescription = f"Outlines by {reading.model.label} burned in; {NOT_FOR_DIAGNOSIS}"
    ds.BurnedInAnnotation = "YES"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    ds.add_new("PixelData", "OB", data + b"\0" * (len(data) % 2))
    return finish(ds, header, reading, context, "picture")


def _drawn(reading: Reading, picture: np.ndarray) -> np.ndarray:
    """Return the picture in colour with everything drawn, uint8 (rows, columns, 3)."""
    rows, columns = picture.shape
    height = max(10, min(rows, columns) // _WORDS_PER_SIDE)
    font = ImageFont.load_default(height)
    lines = [
        f"{NOT_FOR_DIAGNOSIS} - AI result, not reviewed",
        f"{reading.model.label}: {verdict(reading)}",
        *(in_words(reading, one) for one in reading.findings),
        *([reading.caveat] if reading.caveat else []),
    ]
    widest = int(max(font.getlength(line) for line in lines)) + 2 * height
    canvas = Image.new("RGB", (max(columns, widest), rows + (len(lines) + 1) * height * 3 // 2))
    canvas.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(canvas)
    for finding in reading.findings:
        _outline(draw, finding, columns / reading.image.columns, font)
    for place, line in enumerate(lines):
        draw.text((height, rows + height // 2 + place * height * 3 // 2), line, WORDS_COLOUR, font)
    return np.asarray(canvas, np.uint8)


def _outline(draw: ImageDraw.ImageDraw, finding: Finding, scale: float, font: Font) -> None:
    top, left, bottom, right = finding.box_px
    vertices = finding.outline_px if len(finding.outline_px) > 2 else ((top, left), (top, right), (bottom, right))
    points = [((column + 0.5) * scale, (row + 0.5) * scale) for row, column in (*vertices, vertices[0])]
    draw.line(points, LINE_COLOUR, width=max(1, round(min(draw.im.size) / 500)))
    draw.text((right * scale + 2, top * scale), str(finding.number), LINE_COLOUR, font)
