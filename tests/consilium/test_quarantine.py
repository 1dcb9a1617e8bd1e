"""An image that ends its decoder is tried three times and set aside; everything else goes on."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from clinical.errors import Busy, IncorrectInput
from consilium import cli
from consilium.decoding import decode
from dicom_node.pixels import DecoderCrashed, DecoderLost
from record_store import quarantine
from record_store.audit import digest
from record_store.job_steps import StepRetry, run_step
from record_store.testing import database

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)
POISON, GOOD = "a" * 64, "b" * 64


class BrittleDecoder:
    """Ends over the poison image, with another reason each time; reads every other one."""

    def __init__(self, *endings):
        self.endings = list(endings) or [DecoderCrashed("the image stopped its decoder")] * 9
        self.reads = []

    def read(self, path):
        self.reads.append(path)
        if path == POISON and self.endings:
            raise self.endings.pop(0)
        return "decoded"


@pytest.fixture
def db(tmp_path):
    one = database(tmp_path)
    yield one
    one.dispose()


def step(db, decoder, sha256, pauses=None):
    """Run a decoding step as the job engine does; the path stands for the bytes."""
    return run_step(
        lambda *_: {"image": decode(db, decoder, sha256, sha256, NOW)},
        "job",
        {},
        retry=StepRetry(),
        sleep=(pauses if pauses is not None else []).append,
    )


def test_after_three_tries_the_image_is_set_aside_and_its_job_ends_with_the_reason(db):
    decoder, pauses = BrittleDecoder(), []
    failed = step(db, decoder, POISON, pauses)["failed"]
    assert failed["category"] == "incorrect"
    assert "set aside" in failed["message"]
    assert len(decoder.reads) == 3
    assert pauses == [1.0, 2.0]


def test_what_is_set_aside_is_not_decoded_again_and_the_others_are(db):
    decoder = BrittleDecoder()
    step(db, decoder, POISON)
    decoder.reads.clear()
    assert "set aside" in step(db, decoder, POISON)["failed"]["message"]
    assert decoder.reads == []
    assert step(db, decoder, GOOD) == {"ok": {"image": "decoded"}}


def test_a_decoder_that_ended_by_chance_costs_a_try_and_no_image(db):
    decoder = BrittleDecoder(DecoderLost("killed"), DecoderLost("too late"))
    assert step(db, decoder, POISON) == {"ok": {"image": "decoded"}}


def test_tries_are_counted_over_restarts_and_whoever_made_them(db):
    decoder = BrittleDecoder()
    for error in (Busy, Busy, IncorrectInput, IncorrectInput):
        with pytest.raises(error):
            decode(db, decoder, POISON, POISON, NOW)
    assert len(decoder.reads) == 3


def test_an_error_of_the_image_that_leaves_its_decoder_alive_is_no_try(db):
    decoder = BrittleDecoder(*[IncorrectInput("it is malformed")] * 5)
    for _ in range(5):
        with pytest.raises(IncorrectInput, match="malformed"):
            decode(db, decoder, POISON, POISON, NOW)
    with db.read() as conn:
        assert quarantine.tries(conn, POISON) == 0


def test_an_operator_sees_what_is_set_aside_and_lets_it_be_tried_again(db, tmp_path, no_settings, kept_logging):
    step(db, BrittleDecoder(), POISON)
    run = CliRunner().invoke
    where = ["--data-dir", str(tmp_path)]
    (listed,) = json.loads(run(cli.app, ["dicom", "quarantine", "list", "--json", *where]).stdout)
    assert (listed["object"], listed["kind"]) == (digest(POISON), "decoder")
    assert run(cli.app, ["dicom", "quarantine", "release", digest(GOOD), *where]).exit_code != 0
    assert run(cli.app, ["dicom", "quarantine", "release", digest(POISON), *where]).exit_code == 0
    assert step(db, BrittleDecoder(DecoderLost("once")), POISON) == {"ok": {"image": "decoded"}}
    with db.read() as conn:
        assert quarantine.quarantined(conn) == []
