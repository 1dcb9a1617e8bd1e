"""Two models over the same images: each figure is worked out by hand from masks with known answers."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from sqlalchemy import select

from clinical.errors import NotFound, PreconditionMissing
from consilium.shadow.comparing import Comparing, Model
from consilium.shadow.comparison import CAVEAT, compared
from consilium.shadow.plot import plot_of
from consilium.shadow.replay import Replay
from consilium.shadow.words import in_words
from dicom_node.testing import CANARY_ID, CANARY_NAME
from record_store.audit import digest
from record_store.readings import finish_job
from record_store.tables import audit

LIVE, SHADOW = Model("lung-nodule", "0.1.0"), Model("lung-nodule", "2.0.0")


def marks(rows, columns, probability):
    def answer(_inputs):
        seen = np.zeros((1, 16, 16, 1), np.float32)
        seen[0, rows, columns, 0] = probability
        return {"probability": seen}

    return answer


def in_turn(*answers):
    turns = iter(answers)

    def answer(inputs):
        return next(turns)(inputs)

    return answer


NOTHING = marks(slice(0, 0), slice(0, 0), 0.0)
HERE, LOWER = marks(slice(4, 8), slice(5, 9), 0.9), marks(slice(6, 10), slice(5, 9), 0.7)


def comparing(shadowed) -> Comparing:
    return Comparing(shadowed.db, shadowed.study.blobs, lambda: shadowed.now, "operator:tester")


@pytest.fixture
def both(shadowed):
    """Four studies of one image: found by both with a shift, by one alone, by the other alone, by neither."""
    shadowed.study.engine._answers["lung-nodule"] = in_turn(HERE, HERE, NOTHING, NOTHING)
    shadowed.answers(in_turn(LOWER, NOTHING, LOWER, NOTHING))
    for number in range(4):
        shadowed.study.uid = uid = f"1.2.{number}"
        attributes = {"PixelSpacing": [0.5, 0.5], "PatientSex": "F", "Manufacturer": "ACME"}
        shadowed.study.arrives(f"image {number}", **attributes)
        shadowed.is_read_live()
        assert shadowed.reader().read(shadowed.model, uid).images == 1
    return shadowed


@pytest.mark.slow
def test_the_figures_are_those_of_a_count_by_hand(both) -> None:
    told, rows = comparing(both).run(LIVE, SHADOW)
    image = told["finding_or_none"]["image"]
    counts = [image[name] for name in ("both", "only_live", "only_shadow", "neither")]
    assert counts == [1, 1, 1, 1]
    assert (image["kappa"], image["positive_agreement"], image["agreement"]["share"]) == (0.0, 0.5, 0.5)
    assert told["findings"] == {"same": 1, "only_live": 1, "only_shadow": 1}
    # Two of four rows of the squares are shared: Dice 0.5, IoU 1/3, but for their edges on the larger image.
    overlap = told["overlap"]
    assert overlap["n"] == 1
    assert overlap["dice"] == pytest.approx(0.5, abs=0.1)
    assert overlap["iou"] == pytest.approx(1 / 3, abs=0.1)
    assert told["highest_probability"]["mean"] == pytest.approx(-0.2)
    assert told["long_axis_mm"]["n"] == 1
    assert told["long_axis_mm"]["mean"] == pytest.approx(0.0, abs=0.5)
    assert told["seconds_an_image"]["live"]["n"] == 0, "a live reading keeps no time, so none is invented"
    assert told["seconds_an_image"]["shadow"]["n"] == 4
    assert told["caveat"] == CAVEAT
    assert [row.study for row in rows] == [digest(f"1.2.{number}") for number in range(4)]


@pytest.mark.slow
def test_a_small_subgroup_is_named_and_not_told_of(both) -> None:
    told, _ = comparing(both).run(LIVE, SHADOW)
    assert told["subgroups"]["sex"] == {"F": {"suppressed": "fewer than 10 images"}}
    told, _ = comparing(both).run(LIVE, SHADOW, smallest=2)
    assert told["subgroups"]["manufacturer"]["ACME"]["images"] == 4


@pytest.mark.slow
def test_what_kept_an_image_from_one_of_them_is_told_by_reason(both) -> None:
    both.study.uid = "1.2.8"
    both.study.arrives("fails")
    key = both.study.closes()
    with both.db.write() as conn:
        finish_job(conn, key, "failed", "the live model crashed", both.now)
    both.answers(lambda _: {}["x"])
    both.reader().read(both.model, "1.2.8")
    told, _ = comparing(both).run(LIVE, SHADOW)
    assert told["failures"] == {
        "live_jobs": {"the live model crashed": 1},
        "shadow_images": {"the reader raised KeyError": 1},
    }
    assert told["read_by_one_alone"] == {"live": 0, "shadow": 0}


@pytest.mark.slow
def test_words_json_and_picture_tell_it_without_the_patient(both) -> None:
    told, rows = comparing(both).run(LIVE, SHADOW)
    words, picture = in_words(told, rows), plot_of(rows, "a<b", SHADOW.label)
    assert "Agreement is not accuracy" in words
    assert f"{digest('1.2.1')} {rows[1].image}: live" in words
    assert "both 1, only live 1, only shadow 1, neither 1" in words
    assert picture.count("<circle") == 2
    assert "a&lt;b" in picture
    everything = words + picture + json.dumps(told)
    for secret in (CANARY_ID, CANARY_NAME, "1.2.1"):
        assert secret not in everything.replace("1.2.1-", "")


@pytest.mark.slow
def test_two_versions_that_both_read_in_shadow_are_compared_as_well(both) -> None:
    told, _ = comparing(both).run(SHADOW, SHADOW)
    assert told["finding_or_none"]["image"]["kappa"] == 1.0
    assert told["seconds_an_image"]["live"]["n"] == 4


@pytest.mark.slow
def test_a_comparison_stands_in_the_audit_also_of_nothing(shadowed) -> None:
    with pytest.raises(NotFound, match="no image that both"):
        comparing(shadowed).run(LIVE, SHADOW)
    with shadowed.db.read() as conn:
        row = conn.execute(select(audit).where(audit.c.action == "shadow-compared")).mappings().one()
    assert (row["outcome"], row["actor"], row["subject"]) == (
        "nothing",
        "operator:tester",
        "model lung-nodule 2.0.0",
    )


class Watched:
    """A database that knows how many snapshots are open, and the blobs that are asked for meanwhile."""

    def __init__(self, db, blobs) -> None:
        self._db, self._blobs, self.open, self.asked = db, blobs, 0, []

    def __getattr__(self, name):
        return getattr(self._db, name)

    @contextmanager
    def read(self):
        self.open += 1
        try:
            with self._db.read() as conn:
                yield conn
        finally:
            self.open -= 1

    def get(self, sha256):
        self.asked.append(self.open)
        return self._blobs.get(sha256)


@pytest.mark.slow
def test_a_mask_is_looked_at_where_something_was_found_and_no_snapshot_waits_for_it(both) -> None:
    watched = Watched(both.db, both.study.blobs)
    told, _ = Comparing(watched, watched, lambda: both.now, "operator:tester").run(LIVE, SHADOW)
    assert told["images"] == 4
    assert watched.asked == [0, 0, 0]


@pytest.mark.slow
def test_what_is_removed_while_it_is_compared_gives_no_figures_of_the_rest(both) -> None:
    class Removing(Watched):
        def get(self, sha256):
            Replay(both.db, None, lambda: both.now, "operator:other").forget(SHADOW.name, SHADOW.version)
            return super().get(sha256)

    with pytest.raises(PreconditionMissing, match="compare again"):
        Comparing(both.db, Removing(both.db, both.study.blobs), lambda: both.now, "operator:a").run(LIVE, SHADOW)


def test_nothing_to_compare_has_no_figures_and_no_zeros() -> None:
    told = compared([])
    assert told["finding_or_none"]["image"]["kappa"] is None
    assert told["long_axis_mm"] == {"n": 0, "mean": None, "low": None, "high": None}
