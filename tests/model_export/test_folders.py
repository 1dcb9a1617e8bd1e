import gzip

import pytest

from clinical.errors import IncorrectInput
from model_export.datasets.folders import data_dir, folder_digest, sets_at

LAYOUT = {
    "main": ("data.csv.gz#waist",),
    "other": ("data.csv.gz#pulse",),
    "pictures": ("lesions.csv", "images"),
}


def write_set(parent, name, columns="id,waist"):
    folder = parent / name
    if columns is None:
        (folder / "images").mkdir(parents=True)
        (folder / "lesions.csv").write_text("a\n1\n")
        return folder
    folder.mkdir(parents=True)
    with gzip.open(folder / "data.csv.gz", "wt") as file:
        file.write(f"{columns}\n1,2\n")
    return folder


def test_the_digest_names_content_and_paths_and_not_the_folder_or_its_prose(tmp_path):
    one = write_set(tmp_path, "one", None)
    (one / "images" / "a.png").write_bytes(b"1")
    two = write_set(tmp_path / "elsewhere", "two", None)
    (two / "images" / "a.png").write_bytes(b"1")
    (two / "README.md").write_text("about")
    (two / "LICENSE.txt").write_text("free")
    (two / "SHA256SUMS").write_text("00")
    (two / ".DS_Store").write_text("window position")
    assert folder_digest(one) == folder_digest(two)
    before = folder_digest(two)
    (two / "images" / "a.png").write_bytes(b"2")
    assert folder_digest(two) != before
    (two / "images" / "a.png").write_bytes(b"1")
    (two / "images" / "a.png").rename(two / "images" / "b.png")
    assert folder_digest(two) != before


def test_the_folder_of_one_set_is_recognised_whatever_it_is_called(tmp_path):
    folder = write_set(tmp_path, "download-17", "id,pulse")
    assert sets_at(folder, LAYOUT) == {"other": folder}


def test_sets_that_lie_beside_the_one_given_are_found_under_their_usual_names(tmp_path):
    given, beside = write_set(tmp_path, "main-held-out"), write_set(tmp_path, "other", "id,pulse")
    assert sets_at(given, LAYOUT) == {"main": given, "other": beside}


def test_the_set_that_was_given_wins_over_a_sibling_with_its_usual_name(tmp_path):
    given, _ = write_set(tmp_path, "main-held-out"), write_set(tmp_path, "main")
    assert sets_at(given, LAYOUT) == {"main": given}


def test_a_folder_of_several_sets_gives_them_in_the_order_of_the_layout(tmp_path):
    pictures, main = write_set(tmp_path, "pictures", None), write_set(tmp_path, "main")
    (tmp_path / "something-else").mkdir()
    assert list(sets_at(tmp_path, LAYOUT).items()) == [("main", main), ("pictures", pictures)]


def test_sub_folders_with_names_that_say_nothing_are_told_by_content(tmp_path):
    folder = write_set(tmp_path, "unpacked", None)
    assert sets_at(tmp_path, LAYOUT) == {"pictures": folder}


def test_equal_layouts_are_told_apart_by_name_or_refused(tmp_path):
    alike = {"first": ("data.csv.gz",), "second": ("data.csv.gz",)}
    named = write_set(tmp_path / "x", "second-2024")
    assert sets_at(named, alike) == {"second": named}
    with pytest.raises(IncorrectInput, match="could be first or second"):
        sets_at(write_set(tmp_path / "y", "unpacked"), alike)


def test_a_relative_folder_knows_its_siblings(tmp_path, monkeypatch):
    write_set(tmp_path, "main")
    beside = write_set(tmp_path, "other", "id,pulse")
    monkeypatch.chdir(tmp_path / "main")
    assert sets_at(beside.relative_to(tmp_path).parent, LAYOUT)["other"] == beside


def test_where_nothing_is_recognised_the_text_says_what_was_looked_for(tmp_path):
    with pytest.raises(IncorrectInput, match=r"main \(data.csv.gz with column waist\)"):
        sets_at(tmp_path, LAYOUT)
    with pytest.raises(IncorrectInput, match="is not a folder"):
        sets_at(tmp_path / "absent", LAYOUT)


def test_a_damaged_table_is_not_recognised_and_does_not_crash(tmp_path):
    folder = write_set(tmp_path, "main")
    (folder / "data.csv.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(IncorrectInput, match="no known data set"):
        sets_at(folder, LAYOUT)


def test_a_data_set_is_looked_for_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("CONSILIUM_DATASETS_DIR", str(tmp_path))
    assert data_dir("some") is None
    (tmp_path / "some").mkdir()
    assert data_dir("some") == tmp_path / "some"
