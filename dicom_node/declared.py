"""What an image declares, checked before anything is allocated for it. Runs in the decoder's child process."""

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, UltrasoundImageStorage

from clinical.errors import IncorrectInput, Unsupported
from dicom_node.attributes import integer
from dicom_node.syntaxes import NATIVE
from dicom_node.ultrasound import COLOUR_INTERPRETATIONS

# PS3.3 C.7.6.3, C.7.6.24, C.7.6.25: which attribute holds the pixels, and what Bits Allocated says then.
_BITS = {"PixelData": {1, 8, 16, 32}, "FloatPixelData": {32}, "DoubleFloatPixelData": {64}}
MOST_FRAMES = 65_536


def check_declared(ds: Dataset, max_pixels: int, frame: int | None = None, *, colour: bool = False) -> None:
    """Refuse what this reader does not read, from the header alone, before anything is allocated.

    frame: the one that is wanted, counted from 1; None when the image must have no more than one.
    colour: whether an image in colour is read too.
    Raises Unsupported with the reason; IncorrectInput when the declaration contradicts itself or is too big.
    """
    bits = next((found for name, found in _BITS.items() if name in ds), None)
    if bits is None:
        raise Unsupported("the object holds no pixel data")
    frames = _check_frames(ds, frame)
    samples = integer(ds, "SamplesPerPixel", 1)
    if not (colour and _is_in_colour(ds, samples)) and not is_grey_in_colour(ds):
        if samples != 1:
            raise Unsupported("colour images are not read")
        if ds.get("PhotometricInterpretation") not in {"MONOCHROME1", "MONOCHROME2"}:
            raise Unsupported("only MONOCHROME1 and MONOCHROME2 images are read")
    rows, columns = integer(ds, "Rows", 0), integer(ds, "Columns", 0)
    if rows < 1 or columns < 1:
        raise IncorrectInput("the image declares no rows or no columns")
    if rows * columns > max_pixels:
        raise IncorrectInput("the image declares more pixels than are allowed")
    allocated = _check_bits(ds, bits, samples)
    stored_samples = 2 if ds.get("PhotometricInterpretation") == "YBR_FULL_422" else samples
    _check_native_size(ds, -(-frames * rows * columns * stored_samples * allocated // 8))


def is_grey_in_colour(ds: Dataset) -> bool:
    """Tell whether this is an ultrasound image in a colour interpretation: most are grey pictures all the same."""
    return (
        ds.get("SOPClassUID") == UltrasoundImageStorage
        and ds.get("PhotometricInterpretation") in COLOUR_INTERPRETATIONS
        and integer(ds, "SamplesPerPixel", 1) == (1 if ds.PhotometricInterpretation == "PALETTE COLOR" else 3)
    )


def _is_in_colour(ds: Dataset, samples: int) -> bool:
    interpretation = ds.get("PhotometricInterpretation")
    return interpretation in COLOUR_INTERPRETATIONS and samples == (1 if interpretation == "PALETTE COLOR" else 3)


def _check_frames(ds: Dataset, frame: int | None) -> int:
    frames = integer(ds, "NumberOfFrames", 1)
    if frame is None and frames > 1:
        raise Unsupported("multi-frame images are not read yet")
    if frames > MOST_FRAMES:
        raise IncorrectInput("the image declares more frames than are allowed")
    if frame is not None and not 1 <= frame <= max(frames, 1):
        raise IncorrectInput("the image has no such frame")
    return max(frames, 1)


def _check_bits(ds: Dataset, possible: set[int], samples: int) -> int:
    allocated = integer(ds, "BitsAllocated", 0)
    if allocated not in possible:
        raise Unsupported("images of 1, 8, 16 or 32 bits allocated are read")
    stored = integer(ds, "BitsStored", allocated)
    if not 1 <= stored <= allocated or not stored - 1 <= integer(ds, "HighBit", stored - 1) < allocated:
        raise IncorrectInput("Bits Stored or High Bit contradicts Bits Allocated")
    if allocated == 32 and "PixelData" in ds and ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        # OW swaps words of 16 bits (PS3.5 6.2): dcmtk and gdcm read it so; pydicom swaps 32 bits at once.
        raise Unsupported("32-bit pixels in big endian are written in two byte orders")
    if samples == 3 and allocated != 8:
        raise Unsupported("colour of more than 8 bits a channel is not read")
    return allocated


def _check_native_size(ds: Dataset, size: int) -> None:
    if ds.file_meta.TransferSyntaxUID not in NATIVE:
        return
    found = next(len(ds[name].value or b"") for name in _BITS if name in ds)
    if found < size:
        raise IncorrectInput("the pixel data is shorter than its declared size")
