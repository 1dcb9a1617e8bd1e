"""Priors: which are chosen, that they come once, that an archive that is away costs nobody else anything."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from pydicom.dataset import Dataset

from clinical.identity import PatientKey
from consilium.circuit import FAILURES, PAUSE_S, ArchiveCircuits
from consilium.closing import PRIOR
from consilium.explain.prior_words import priors_in_words
from consilium.priors import Priors
from consilium.rules import RulesWrong, read_rules
from consilium.rules.priors import Candidate, PriorRule, likely_priors
from dicom_node.destinations import Destination
from dicom_node.query.scu import Retrieved, Unanswered
from record_store import priors
from record_store.audit import digest
from record_store.header_index import HeaderRows, add_headers
from record_store.instances import ReceivedInstance, record_instance
from record_store.priors import Current
from record_store.testing import database

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
ARCHIVE = Destination("main", "127.0.0.1", 104, "PACS")
RULE = PriorRule("older films", "main", modality=("CR", "DX"), most=2, years=5)
CURRENT = Current("1.7.1", "P1", "", "19600101", "20260102", frozenset({"DX"}), frozenset({"XRAY"}))
GOOD = Candidate("1.7.50", "20250101", frozenset({"DX"}), "Thorax", 2, "P1", "", "19600101")


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        ({}, True),
        ({"patient_id": "P2"}, False),
        ({"patient_birth_date": "19700101"}, False),
        ({"patient_birth_date": ""}, True),
        ({"study_date": "20200101"}, False),
        ({"study_date": "20260103"}, False),  # after the current one: not a prior
        ({"study_date": ""}, False),
        ({"study_date": "20251399"}, False),
        ({"modalities": frozenset({"CT"})}, False),
        ({"objects": 3000}, False),
        ({"objects": None}, True),
        ({"study_uid": "1.7.1"}, False),
        ({"study_uid": "1.7.9"}, False),  # it is here
    ],
)
def test_a_prior_is_of_this_patient_of_the_right_kind_and_not_too_old(change, chosen) -> None:
    found = likely_priors(RULE, CURRENT, [replace(GOOD, **change)], {"1.7.9"}, date(2026, 1, 2))
    assert bool(found) is chosen


def test_issuers_that_contradict_are_other_patients() -> None:
    theirs = replace(GOOD, issuer_of_patient_id="OTHER")
    assert likely_priors(RULE, replace(CURRENT, issuer_of_patient_id="HERE"), [theirs], (), NOW.date()) == []
    assert likely_priors(RULE, CURRENT, [theirs], (), NOW.date()) == [theirs]


def test_the_newest_come_first_and_a_description_may_be_asked_for() -> None:
    older = replace(GOOD, study_uid="1.7.40", study_date="20240101", description="CHEST PA")
    assert likely_priors(RULE, CURRENT, [older, GOOD], (), NOW.date()) == [GOOD, older]
    chest = replace(RULE, description=("*chest*",))
    assert likely_priors(chest, CURRENT, [older, GOOD], (), NOW.date()) == [older]


def test_a_rule_speaks_of_studies_by_modality_and_sender() -> None:
    assert RULE.fits(CURRENT)
    assert replace(RULE, when_modality=("dx",), when_calling_ae=("X*",)).fits(CURRENT)
    assert not replace(RULE, when_modality=("CT",)).fits(CURRENT)
    assert not replace(RULE, when_calling_ae=("US*",)).fits(CURRENT)


@pytest.fixture
def db(tmp_path):
    one = database(tmp_path)
    yield one
    one.dispose()


class World:
    """A store with one study of P1, an archive that answers as it is told, a clock."""

    def __init__(self, db):
        self.db, self.at = db, NOW
        self.seconds = [0.0]
        self.answers: list = []
        self.away = False
        self.fetched: list = []
        self.ended = Retrieved(0, "done", 3)
        self.circuits = ArchiveCircuits(lambda: self.seconds[0])

    def arrive(self, study="1.7.1", patient="P1", sender="XRAY", *, fetched=False):
        one = ReceivedInstance(
            f"{study}.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.1.2.1", study, f"{study}.8", "DX",
            PatientKey("urn:hospital", patient), digest(study) * 5, 1, sender, "CONSILIUM", fetched,
        )  # fmt: skip
        header = {
            "study_uid": study,
            "patient_id": patient,
            "patient_birth_date": "19600101",
            "study_date": "20260102",
        }
        series = {"study_uid": study, "series_uid": f"{study}.8", "modality": "DX"}
        instance = {
            "study_uid": study, "series_uid": f"{study}.8", "sop_instance_uid": f"{study}.1",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        }  # fmt: skip
        with self.db.write() as conn:
            record_instance(conn, one, self.at)
            add_headers(conn, [HeaderRows(header, series, instance)])

    def find(self, archive, calling_ae, wanted):
        if self.away:
            raise Unanswered("no connection")
        self.answers.append(wanted)
        if wanted.QueryRetrieveLevel == "SERIES":
            series = Dataset()
            series.BodyPartExamined = "CHEST" if wanted.StudyInstanceUID == "1.7.40" else "KNEE"
            return [series]
        return [
            _study("1.7.50", "20250101"),
            _study("1.7.40", "20240101"),
            _study("1.7.60", "20250601", patient="P2"),
        ]

    def fetch(self, archive, study_uid, by):
        if self.away:
            raise Unanswered("no connection")
        self.fetched.append((study_uid, by))
        return self.ended

    def runner(self, rule=RULE):
        return Priors(
            self.db, (rule,), {"main": ARCHIVE}, "CONSILIUM", lambda: self.at, self.find, self.fetch, self.circuits
        )

    def told(self, study="1.7.1"):
        with self.db.read() as conn:
            return priors_in_words(priors.priors_of(conn, study))


def _study(uid, day, patient="P1"):
    ds = Dataset()
    ds.StudyInstanceUID, ds.StudyDate, ds.PatientID = uid, day, patient
    ds.ModalitiesInStudy = ["DX", "SR"]
    ds.NumberOfStudyRelatedInstances = 2
    return ds


@pytest.fixture
def world(db):
    return World(db)


def test_priors_are_asked_for_once_and_come_one_after_another(world) -> None:
    world.arrive()
    runner = world.runner()
    assert [runner.once() for _ in range(4)] == [2, 1, 0, 0]
    assert sorted(world.fetched) == [("1.7.40", "move"), ("1.7.50", "move")]
    assert len(world.answers) == 1
    assert world.told()[0] == "priors: main asked by rule 'older films', it knows 3 studies of this patient"
    assert all(line.endswith("fetched, 3 objects") for line in world.told()[1:])


def test_body_parts_are_asked_of_the_series(world) -> None:
    world.arrive()
    runner = world.runner(replace(RULE, body_part=("CHEST",), by="get"))
    assert [runner.once() for _ in range(2)] == [2, 0]
    assert world.fetched == [("1.7.40", "get")]


def test_a_study_that_was_fetched_is_a_prior_and_has_none_itself(world) -> None:
    world.arrive()
    runner = world.runner()
    runner.once()
    world.arrive("1.7.50")
    with world.db.read() as conn:
        assert priors.is_prior(conn, "1.7.50")
        assert not priors.is_prior(conn, "1.7.1")
    runner.once()
    assert world.told("1.7.50") == ()


def test_an_archive_that_is_away_is_left_alone_and_asked_again_later(world) -> None:
    for number in range(FAILURES + 1):
        world.arrive(f"1.7.{number + 1}")
    world.away = True
    runner = world.runner()
    assert runner.once() == FAILURES  # then the circuit is open
    assert world.told("1.7.1") == ("priors: main asked by rule 'older films': no connection",)
    assert runner.once() == 0
    world.away = False
    world.seconds[0] = PAUSE_S
    world.at = NOW + timedelta(minutes=2)
    while runner.once():
        world.at += timedelta(seconds=1)
    assert "it knows 3 studies" in world.told("1.7.1")[0]


def test_a_fetch_that_fails_is_tried_three_times_and_then_said_to_have_failed(world) -> None:
    world.ended = Retrieved(0xA801, "refused: the archive does not know the destination")
    world.arrive()
    runner = world.runner(replace(RULE, most=1))
    for _ in range(6):
        runner.once()
        world.at += timedelta(minutes=2)
    assert len(world.fetched) == priors.MOST_ATTEMPTS
    assert "did not come (refused: the archive does not know the destination)" in world.told()[1]


def test_two_workers_ask_once(world) -> None:
    world.arrive()
    with world.db.write() as conn:
        assert priors.claim_question(conn, "1.7.1", "main", "older films", NOW)
        assert not priors.claim_question(conn, "1.7.1", "main", "older films", NOW)
        # one that ended while it was asking does not keep the question for ever
        assert priors.claim_question(conn, "1.7.1", "main", "older films", NOW + timedelta(minutes=11))


def test_no_model_reads_a_prior(closed_as) -> None:
    assert closed_as("1.7.50", fetched=True) == ("nothing-to-do", PRIOR)


def test_no_model_reads_what_the_archive_that_was_asked_sends_without_a_word_that_it_was_asked(closed_as) -> None:
    assert closed_as("1.7.50", sender="PACS") == ("nothing-to-do", PRIOR)


def test_what_a_modality_sends_first_is_read_though_it_was_wanted_as_a_prior(closed_as) -> None:
    assert closed_as("1.7.50", sender="XRAY") == ("nothing-to-do", "nothing came for 5 s")


@pytest.mark.parametrize(("sender", "fetched"), [("PACS", True), ("PACS", False)])
def test_a_prior_that_its_modality_sends_afterwards_is_read(closed_as, world, sender, fetched) -> None:
    assert closed_as("1.7.50", sender=sender, fetched=fetched)[1] == PRIOR
    world.arrive("1.7.50", sender=sender, fetched=fetched)  # a fetch that runs again
    assert closed_as("1.7.50", sender=sender, fetched=fetched) is None
    assert closed_as("1.7.50", sender="XRAY") == ("nothing-to-do", "nothing came for 5 s")


def test_a_prior_that_its_own_archive_sends_unasked_is_read(closed_as) -> None:
    assert closed_as("1.7.50", sender="PACS", fetched=True)[1] == PRIOR
    assert closed_as("1.7.50", sender="PACS") == ("nothing-to-do", "nothing came for 5 s")


@pytest.fixture
def closed_as(world):
    """closed_as(study) -> outcome and reason of closing a study that was fetched as a prior."""
    from consilium.closing import Closing  # noqa: PLC0415
    from consilium.completing import Completing, Waits  # noqa: PLC0415
    from consilium.worker import ImageModels  # noqa: PLC0415
    from record_store.study_history import history_of  # noqa: PLC0415

    def close(study, **how):
        world.arrive()
        world.runner().once()
        world.arrive(study, **how)
        world.at += timedelta(seconds=60)
        closing = Closing(
            db=world.db, jobs=None, models=lambda: ImageModels((), {}), completing=Completing(Waits(5.0, 1.0)),
            now=lambda: world.at, archives={"main": "PACS"},
        )  # fmt: skip
        if not closing.once():
            return None
        with world.db.read() as conn:
            act = history_of(conn, study).acts[-1]
        return act.outcome, act.detail["why"]

    return close


def test_an_unknown_archive_in_the_rules_is_named_by_its_line(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = 1\n[[prior]]\nname = "x"\narchive = "nowhere"\n')
    with pytest.raises(RulesWrong) as caught:
        read_rules(path, models=[], destinations=["main"])
    assert caught.value.lines == ("line 4, prior.1.archive: expected the name of an archive in CONSILIUM_PACS",)
