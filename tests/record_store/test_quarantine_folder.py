"""What is refused as malformed is kept within bounds, once, under a name of ours."""

import hashlib
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clinical.errors import IncorrectInput, NotFound
from record_store.parts import PartFile
from record_store.quarantine_folder import Quarantine, QuarantineBounds, Refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOUNDS = QuarantineBounds(size=1000, objects=3, age=timedelta(days=30))
REFUSAL = Refusal("C-STORE", "CT1", "CONSILIUM", "10.0.0.7", 0xA900, "the data set is malformed", "ab" * 6)


class Clock:
    now = NOW

    def __call__(self):
        return self.now

    def wait(self, **more):
        self.now += timedelta(**more)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quarantine(tmp_path, clock):
    return Quarantine(tmp_path / "quarantine", BOUNDS, clock)


def part_of(folder, data):
    part = PartFile.new(folder)
    part.write([data])
    return part


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kept(quarantine):
    return [quarantine.path(one).read_bytes() for one in quarantine.entries()]


def test_a_part_is_moved_and_not_copied_and_its_note_says_who_when_and_why(tmp_path, quarantine):
    part = part_of(tmp_path, b"torn")
    inode = part.path.stat().st_ino
    assert quarantine.keep(part, REFUSAL)
    assert not part.path.exists()
    (one,) = quarantine.entries()
    assert one.sha256 == hashlib.sha256(b"torn").hexdigest()
    assert (one.size, one.times, one.first_at, one.last_at) == (4, 1, *["2026-01-02T03:04:05.000000Z"] * 2)
    assert one.refusal == REFUSAL
    path = quarantine.path(one)
    assert (path.stat().st_ino, path.name) == (inode, f"{one.sha256}.dcm")
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_same_object_again_is_kept_once_and_counted(quarantine, clock):
    for _ in range(3):
        assert quarantine.keep_bytes(b"torn", REFUSAL)
        clock.wait(hours=1)
    (one,) = quarantine.entries()
    assert (one.times, one.first_at[11:16], one.last_at[11:16]) == (3, "03:04", "05:04")


def test_the_oldest_give_way_to_the_newest_by_count_and_by_size(quarantine, clock):
    for data in (b"1", b"2", b"3", b"4"):
        assert quarantine.keep_bytes(data, REFUSAL)
        clock.wait(seconds=1)
    assert kept(quarantine) == [b"4", b"3", b"2"]
    assert quarantine.keep_bytes(b"5" * 999, REFUSAL)
    assert kept(quarantine) == [b"5" * 999, b"4"]
    assert quarantine.totals() == (2, 1000)


def test_one_that_is_sent_again_is_not_the_oldest_any_more(quarantine, clock):
    for data in (b"1", b"2", b"3", b"1", b"4"):
        quarantine.keep_bytes(data, REFUSAL)
        clock.wait(seconds=1)
    assert kept(quarantine) == [b"4", b"1", b"3"]


def test_what_another_process_adds_and_removes_counts(tmp_path, quarantine, clock):
    other = Quarantine(tmp_path / "quarantine", BOUNDS, clock)
    for number, one in enumerate((quarantine, other, quarantine, other, other, quarantine)):
        clock.wait(seconds=1)
        assert one.keep_bytes(b"%d" % number, REFUSAL)
        assert len(quarantine.entries()) == min(number + 1, 3)
    assert kept(quarantine) == [b"5", b"4", b"3"]
    other.remove(other.entries()[0])
    quarantine.keep_bytes(b"6", REFUSAL)
    assert kept(other) == [b"6", b"4", b"3"]


def test_what_is_larger_than_the_quarantine_is_not_kept_and_drives_nothing_out(tmp_path, quarantine):
    quarantine.keep_bytes(b"1", REFUSAL)
    part = part_of(tmp_path, b"2" * 1001)
    assert not quarantine.keep(part, REFUSAL)
    assert part.path.exists()
    assert kept(quarantine) == [b"1"]


def test_nothing_is_kept_when_it_is_off_and_what_was_there_stays_until_it_is_old(tmp_path, quarantine, clock):
    quarantine.keep_bytes(b"1", REFUSAL)
    off = Quarantine(tmp_path / "quarantine", replace(BOUNDS, size=0), clock)
    assert not off.keep_bytes(b"2", REFUSAL)
    assert off.expire() == 0
    assert kept(off) == [b"1"]
    clock.wait(days=30)
    assert off.expire() == 1


def test_at_the_low_water_mark_nothing_is_kept(tmp_path, clock):
    full = Quarantine(tmp_path / "quarantine", replace(BOUNDS, low_water=1 << 60), clock)
    part = part_of(tmp_path, b"torn")
    assert not full.keep(part, REFUSAL)
    assert part.path.exists()
    assert full.entries() == []


def test_a_folder_that_cannot_be_written_costs_the_copy_and_no_error(tmp_path, clock):
    (tmp_path / "quarantine").write_bytes(b"no folder")
    part = part_of(tmp_path, b"torn")
    assert not Quarantine(tmp_path / "quarantine", BOUNDS, clock).keep(part, REFUSAL)
    assert part.path.exists()


def test_a_part_that_cannot_be_made_a_file_costs_the_copy_and_no_error(tmp_path, quarantine):
    part = PartFile.new(tmp_path / "gone")
    part.hold([b"torn"])
    assert not quarantine.keep(part, REFUSAL)
    assert quarantine.entries() == []


def test_a_part_of_which_there_are_only_bytes_yet_is_kept(tmp_path, quarantine):
    part = PartFile.new(tmp_path)
    part.hold([b"to", b"rn"])
    assert quarantine.keep(part, REFUSAL)
    part.discard()
    assert kept(quarantine) == [b"torn"]


def test_what_is_too_old_goes(quarantine, clock):
    quarantine.keep_bytes(b"1", REFUSAL)
    clock.wait(days=29)
    quarantine.keep_bytes(b"2", REFUSAL)
    clock.wait(days=1)
    assert quarantine.expire() == 1
    assert kept(quarantine) == [b"2"]


def test_what_a_killed_process_has_left_is_no_entry_and_goes(tmp_path, quarantine):
    quarantine.keep_bytes(b"1", REFUSAL)
    folder = tmp_path / "quarantine"
    for name in (f"{'a' * 64}.dcm", f"{'b' * 64}.json", f"{'c' * 64}.new"):
        (folder / name).write_bytes(b"{}")
    assert kept(quarantine) == [b"1"]
    assert quarantine.expire() == 0
    assert names(folder) == sorted(["lock", *(path.name for path in folder.glob("6b86*"))])


def test_an_object_is_named_by_the_first_digits_of_its_hash(quarantine):
    quarantine.keep_bytes(b"1", REFUSAL)
    (one,) = quarantine.entries()
    assert quarantine.named(one.sha256[:6]) == one
    for wrong in ("6b86b", "../../etc", "6B86B2"):
        with pytest.raises(IncorrectInput):
            quarantine.named(wrong)
    with pytest.raises(NotFound):
        quarantine.named("ffffff")


def test_a_removed_one_is_gone_with_its_note(tmp_path, quarantine):
    quarantine.keep_bytes(b"1", REFUSAL)
    quarantine.remove(quarantine.entries()[0])
    assert names(tmp_path / "quarantine") == ["lock"]


def test_a_quarantine_that_nobody_has_used_is_empty(quarantine, tmp_path):
    assert (quarantine.entries(), quarantine.totals(), quarantine.expire()) == ([], (0, 0), 0)
    assert not (tmp_path / "quarantine").exists()
