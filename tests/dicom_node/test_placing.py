"""Where images lie is read from classic and enhanced headers alike, and never made up."""

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from clinical.volume import NoVolume, Refused, Volume, volume_of
from dicom_node.placing import MOST_FRAMES, NOWHERE, placed, slices_of
from dicom_node.testing import dx_dataset, write_dicom


def plane(z, **changes) -> Dataset:
    ds = Dataset()
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-100, -80, z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [0.7, 0.8], 1, 512, 512
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(heights) -> Dataset:
    def group(**sequences) -> Dataset:
        made = Dataset()
        for keyword, said in sequences.items():
            item = Dataset()
            for name, value in said.items():
                setattr(item, name, value)
            setattr(made, keyword, Sequence([item]))
        return made

    ds = Dataset()
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(heights), 512, 512
    ds.SharedFunctionalGroupsSequence = Sequence(
        [
            group(
                PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
                PixelMeasuresSequence={"PixelSpacing": [0.7, 0.8], "SliceThickness": 1},
            )
        ]
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [group(PlanePositionSequence={"ImagePositionPatient": [-100, -80, z]}) for z in heights]
    )
    return ds


def test_classic_and_enhanced_images_of_one_stack_are_the_same_volume() -> None:
    classic = [one for z in (0, 2, 4) for one in slices_of(plane(z))]
    made = volume_of(classic)
    assert isinstance(made, Volume)
    assert made.spacing_mm == (2.0, 0.7, 0.8)
    assert made.gap_mm == 1.0
    assert slices_of(enhanced([0, 2, 4])) == classic


def test_no_frame_is_left_out_of_a_long_stack() -> None:
    assert len(slices_of(enhanced(range(MOST_FRAMES + 1)))) == MOST_FRAMES + 1
    assert len(slices_of(plane(0, NumberOfFrames=2_000_000_000))) == MOST_FRAMES


@pytest.mark.parametrize("thickness", [None, 0, -1, "", [1, 2]])
def test_a_thickness_that_is_none_is_not_stated(thickness) -> None:
    assert slices_of(plane(0, SliceThickness=thickness))[0].thickness_mm is None


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("value", [None, [1], ""])
def test_an_image_that_does_not_say_where_it_lies_is_in_no_volume(keyword, value) -> None:
    slices = [*slices_of(plane(0)), *slices_of(plane(2, **{keyword: value}))]
    assert volume_of(slices) == Refused(NoVolume.NO_PLANE)


def test_several_frames_without_groups_lie_nowhere() -> None:
    assert slices_of(plane(0, NumberOfFrames=3)) == [NOWHERE] * 3


def test_a_file_that_cannot_be_read_says_nothing(tmp_path, small_phantom) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"not DICOM")
    assert placed(tmp_path / "broken.dcm") == [NOWHERE]
    path = write_dicom(dx_dataset(small_phantom[0]), tmp_path / "image.dcm")
    (one,) = placed(path)
    assert (one.position, one.rows) == (None, dcmread(path).Rows)
