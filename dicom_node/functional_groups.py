"""What an enhanced multi-frame image says of one frame (PS3.3 C.7.6.16). Runs in the decoder's child process."""

from collections.abc import Iterator

from pydicom.dataset import Dataset

from clinical.errors import IncorrectInput

# The groups that change what a pixel means, and the attributes in them that a classic image has at its top level.
_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "ImagerPixelSpacing"),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


def of_frame(ds: Dataset, index: int) -> Dataset:
    """Return the data set as a classic image of the frame (counted from 0) would have it.

    The frame's own groups stand above those that all frames share. `ds` itself is returned where it has none.
    Raises IncorrectInput when the groups of this frame are missing.
    """
    if "SharedFunctionalGroupsSequence" not in ds and "PerFrameFunctionalGroupsSequence" not in ds:
        return ds
    flat = Dataset()
    flat.update({tag: ds.get_item(tag) for tag in ds.keys()})  # noqa: SIM118 - elements are not read
    flat.file_meta = ds.file_meta
    for groups in _groups_of(ds, index):
        for sequence, keywords in _GROUPS.items():
            for item in list(groups.get(sequence) or [])[:1]:
                flat.update({item[keyword].tag: item[keyword] for keyword in keywords if keyword in item})
    return flat


def _groups_of(ds: Dataset, index: int) -> Iterator[Dataset]:
    yield from list(ds.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = ds.get("PerFrameFunctionalGroupsSequence") or []
    if own and index >= len(own):
        raise IncorrectInput("the image does not describe this frame")
    yield from list(own)[index : index + 1]
