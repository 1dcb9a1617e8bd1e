"""A viewer is told which images to show by handles that open once, for a while, and only if we made them."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from cds.card import LinkType
from cds.links import LinkSigner
from cds.viewer_handle import handle, redeem, viewer_link
from clinical.codes import LUNG, NODULE_OF_LUNG
from clinical.errors import Denied, IncorrectInput
from clinical.finding import FindingTerms, ImageRef, ModelRef, Reading
from record_store.readings import StoredReading
from record_store.seen_tokens import SeenTokens

START = datetime(2026, 11, 22, tzinfo=UTC)
TERMS = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
VIEWER = "https://viewer.example/launch"


def signer(at=START, **changes):
    parts = {"key": b"a" * 32, "base_url": "https://cds.example", "now": lambda: at, "viewer": VIEWER}
    return LinkSigner(**parts | changes)


def new_uuid():
    return str(uuid.uuid4())


def stored(number=1):
    image = ImageRef("1.2.3", "1.2.3.1", f"1.2.3.1.{number}", "1.2", "DX", 64, 64, None)
    reading = Reading(image, ModelRef("lung-nodule", "0.1.0", "a" * 64), TERMS, 0.5, ())
    return StoredReading(f"reading-{number}", "job", reading, None, "0" * 64, START)


@pytest.fixture
def first_use(shared_db):
    return SeenTokens(shared_db).first_use


def test_a_handle_opens_one_reading_once(first_use):
    made = handle(signer(), "reading-1", new_uuid())
    assert redeem(signer(), made, first_use) == "reading-1"
    with pytest.raises(Denied):
        redeem(signer(), made, first_use)


def test_a_handle_opens_for_a_while(first_use):
    made = handle(signer(), "reading-1", new_uuid())
    with pytest.raises(Denied):
        redeem(signer(START + timedelta(seconds=901)), made, first_use)
    assert redeem(signer(START + timedelta(seconds=900)), made, first_use) == "reading-1"


@pytest.mark.parametrize("change", [
    lambda made: made.replace("reading-1", "reading-2"),
    lambda made: made[:-1] + ("A" if made[-1] != "A" else "B"),
    lambda made: made + "A",
    lambda made: made.replace(".", ".9", 1),
    lambda made: "",
    lambda made: "../x.1.y.z",
    lambda made: "é" * 60,
])  # fmt: skip
def test_a_changed_handle_is_refused_and_uses_nothing_up(change, first_use):
    made = handle(signer(), "reading-1", new_uuid())
    with pytest.raises(Denied):
        redeem(signer(), change(made), first_use)
    assert redeem(signer(), made, first_use) == "reading-1"


def test_an_overlay_link_is_no_handle_and_the_other_way_round():
    made = handle(signer(), "reading-1", new_uuid())
    _, expires, _, sig = made.rsplit(".", 3)
    with pytest.raises(Denied):
        signer().check("reading-1", expires, sig)


def test_a_handle_under_another_key_is_refused(first_use):
    with pytest.raises(Denied):
        redeem(signer(key=b"b" * 32), handle(signer(), "reading-1", new_uuid()), first_use)


def test_an_id_that_is_none_gets_no_handle():
    with pytest.raises(IncorrectInput):
        handle(signer(), "a\nb", new_uuid())


def test_the_viewer_is_launched_with_the_ids_of_study_series_and_results(first_use):
    link = viewer_link(signer(), "Open the images in the viewer", [stored(1), stored(2)], new_uuid)
    assert (link.type, link.url.text, link.spare) == (LinkType.SMART, VIEWER, True)
    context = json.loads(link.app_context)
    assert context["study"] == "1.2.3"
    assert context["redeem"] == "https://cds.example/overlay/launch"
    assert [(one["id"], one["series"], one["instance"]) for one in context["results"]] == [
        ("reading-1", "1.2.3.1", "1.2.3.1.1"),
        ("reading-2", "1.2.3.1", "1.2.3.1.2"),
    ]
    assert redeem(signer(), context["results"][1]["handle"], first_use) == "reading-2"


def test_without_a_viewer_or_images_there_is_no_such_link():
    assert viewer_link(signer(viewer=None), "Open", [stored()], new_uuid) is None
    assert viewer_link(signer(), "Open", [], new_uuid) is None
