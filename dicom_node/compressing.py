"""Results made smaller on their way to an archive that takes them so; nothing is lost, so they keep their UIDs.

A picture in colour is mostly grey, and the reversible colour transform of JPEG 2000 leaves a fifth of it. A map is
mostly zero, and no codec of images takes floats, so its data set is deflated (PS3.5 A.5). The others are small.
"""

import copy
from collections.abc import Mapping

from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
)

SMALLER: Mapping[UID, UID] = {
    SecondaryCaptureImageStorage: JPEG2000Lossless,
    ParametricMapStorage: DeflatedExplicitVRLittleEndian,
}


def smaller_syntax(ds: Dataset) -> UID | None:
    """Return the transfer syntax in which an uncompressed object is smaller without loss; None: it stays."""
    compressed = ds.file_meta.TransferSyntaxUID.is_compressed
    return None if compressed else SMALLER.get(ds.SOPClassUID)


def in_syntax(ds: FileDataset, syntax: UID) -> FileDataset:
    """Return the object in a syntax of `smaller_syntax`; the one that is given stays as it is."""
    made = copy.copy(ds)
    made.file_meta = copy.deepcopy(ds.file_meta)
    made.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEG2000Lossless:
        import imagecodecs  # noqa: PLC0415 - only who compresses pays for it

        encoded = imagecodecs.jpeg2k_encode(ds.pixel_array, level=0, codecformat="j2k", reversible=True, mct=True)
        made.PhotometricInterpretation = "YBR_RCT"  # PS3.5 8.2.4: what the codestream's transform leaves
        made.PixelData = encapsulate([bytes(encoded)])
        made["PixelData"].VR = "OB"
        made["PixelData"].is_undefined_length = True
    return made
