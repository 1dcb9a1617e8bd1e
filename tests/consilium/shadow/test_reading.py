"""A model that reads in shadow: what it says is kept, leaves nothing elsewhere, and costs nobody else anything."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from clinical.errors import Fault, PreconditionMissing
from consilium.selection import LATE
from consilium.shadow.reading import NOT_CLOSED, LeftOff
from consilium.shadow.replay import Replay
from dicom_node.pixels import DecoderEnded
from dicom_node.testing import CANARY_NAME
from record_store import quarantine, shadow_readings, shadows
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.instances import hold_study
from record_store.shadow_readings import Subgroup
from record_store.tables import audit, metadata
from tests.consilium.nodule import one_nodule

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
OWN = ("shadow_model", "shadow_study", "shadow_reading", "audit")


def rows_elsewhere(db) -> dict[str, list]:
    """Return every row of every table but those of shadow readings and the audit."""
    with db.read() as conn:
        return {
            table.name: [tuple(row) for row in conn.execute(select(table))]
            for table in metadata.sorted_tables
            if table.name not in OWN
        }


def test_no_row_and_no_object_but_its_own_comes_of_what_a_shadow_finds(shadowed) -> None:
    shadowed.study.uid = "1.2.3"
    shadowed.study.arrives("first")
    shadowed.is_read_live()
    before, blobs = rows_elsewhere(shadowed.db), dict(shadowed.study.blobs.stored)
    assert sum(map(len, before.values())) > 5
    shadowed.answers(one_nodule)
    assert shadowed.reader().read(shadowed.model, "1.2.3").images == 1
    (reading,) = shadowed.readings()
    assert len(reading.reading.findings) == 1
    assert rows_elsewhere(shadowed.db) == before
    assert shadowed.study.blobs.stored == blobs


def test_nothing_that_sends_or_serves_knows_the_shadows() -> None:
    knowing = set()
    for folder in ("cds", "consilium", "dicom_node", "fhir_adapters", "record_store"):
        for path in (ROOT / folder).rglob("*.py"):
            if _imported(path) & {"record_store.shadows", "record_store.shadow_readings"}:
                knowing.add(path.relative_to(ROOT).as_posix())
    assert {one for one in knowing if not one.startswith("consilium/shadow/")} == {
        "consilium/explain/shadow_words.py",
        "consilium/explain/stages.py",
        "consilium/worker_role.py",  # counts studies for a metric
        "record_store/study_history.py",  # for explain
    }


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{one.name}" for one in node.names)}
    return found


def test_it_reads_the_images_that_the_live_model_of_its_name_would(shadowed) -> None:
    shadowed.stored("1.2.3", "mine")
    shadowed.study.arrives("side", ViewPosition="LL")
    shadowed.stored("1.2.3", "strangers", PatientID="SOMEBODY-ELSE")
    with shadowed.db.write() as conn:
        conn.execute(metadata.tables["study"].update().values(state="closed", hold_reason=None))
    outcome = shadowed.reader().read(shadowed.model, "1.2.3")
    assert outcome.images == 1
    assert outcome.left_out == {"it is not a frontal view": 1, "it names another patient than its study": 1}


def test_a_study_is_read_once_and_what_comes_late_is_read_alone(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    assert shadowed.reader().read(shadowed.model, "1.2.3").images == 1
    assert shadowed.reader().read(shadowed.model, "1.2.3") is None
    shadowed.stored("1.2.3", "late")
    assert shadowed.reader().read(shadowed.model, "1.2.3").images == 2
    assert (len(shadowed.engine.calls), len(shadowed.readings())) == (2, 2)
    assert (shadowed.row("1.2.3").state, shadowed.row("1.2.3").revision) == (shadows.DONE, 2)


def test_what_comes_late_and_is_ignored_is_read_by_no_shadow_nor_by_a_live_job_that_is_tried_again(
    shadowed,
) -> None:
    study, uid = shadowed.study, "1.2.3"
    study.uid = uid
    study.arrives("first")
    key = study.closes()
    shadowed.passes(minutes=1)
    shadowed.stored(uid, "late")
    with shadowed.db.write() as conn:
        told = {"revision": 2, "why": "a rule", "ignored": 1}
        append_audit(
            conn, at=shadowed.now, action="study-closed", outcome="", actor="w", subject=digest(uid), detail=told
        )
    chosen = study.steps.read(key, {})
    assert (len(chosen["images"]), chosen["left_out"]) == (1, [LATE])
    outcome = shadowed.reader().read(shadowed.model, uid)
    assert (outcome.images, outcome.left_out) == (1, {LATE: 1})


def test_two_processes_never_read_the_same_study_at_once(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    other = []
    shadowed.answers(
        lambda inputs: (
            other.append(shadowed.reader(owner="there:2").read(shadowed.model, "1.2.3")) or one_nodule(inputs)
        )
    )
    assert shadowed.reader().read(shadowed.model, "1.2.3").images == 1
    assert other == [None]


def test_what_is_left_off_goes_on_where_it_was(shadowed) -> None:
    shadowed.stored("1.2.3", "one", "two", "three")
    turns = iter((True, True, True, False))  # for the study, and for each image
    with pytest.raises(LeftOff):
        shadowed.reader(goes_on=lambda: next(turns)).read(shadowed.model, "1.2.3")
    assert len(shadowed.readings()) == 2
    assert shadowed.reader().read(shadowed.model, "1.2.3").images == 3
    assert len(shadowed.engine.calls) == 3
    assert shadowed.row("1.2.3").attempts == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Fault("the model crashed"), "the model crashed"),
        (lambda _: {}["Jane Doe"], "the reader raised KeyError"),
    ],
)
def test_whatever_a_model_does_its_study_says_so_without_quoting_it(shadowed, answer, reason) -> None:
    shadowed.stored("1.2.3", "one")
    shadowed.answers(answer)
    assert shadowed.reader().read(shadowed.model, "1.2.3").failures == {reason: 1}
    assert shadowed.row("1.2.3").state == shadows.FAILED


def test_an_image_that_fails_keeps_no_other_from_being_read(shadowed) -> None:
    shadowed.stored("1.2.3", "one", "two")
    answers = iter((Fault("out of memory"), None))

    def answer(inputs):
        if (problem := next(answers)) is not None:
            raise problem
        return one_nodule(inputs)

    shadowed.answers(answer)
    outcome = shadowed.reader().read(shadowed.model, "1.2.3")
    assert (outcome.images, outcome.failures) == (1, {"out of memory": 1})


def test_what_fails_is_tried_again_after_a_rest_and_not_for_ever(shadowed) -> None:
    shadowed.stored("1.2.3", "one")
    shadowed.answers(Fault("the model crashed"))
    tried = []
    for _ in range(5):
        tried.append(shadowed.reader().read(shadowed.model, "1.2.3") is not None)
        assert shadowed.reader().read(shadowed.model, "1.2.3") is None, "not at once"
        shadowed.passes(minutes=2)
    assert tried == [True, True, True, False, False]
    with shadowed.db.write() as conn:
        assert shadows.try_again(conn, shadowed.manifest.ref) == 1
    assert shadowed.reader().read(shadowed.model, "1.2.3") is not None


def test_an_image_that_ends_the_decoder_in_shadow_is_not_set_aside_for_the_live_model(shadowed) -> None:
    class Dying:
        def read(self, _path):
            raise DecoderEnded("the decoder was killed")

    shadowed.study.uid = "1.2.3"
    shadowed.study.arrives("first")
    job_key = shadowed.study.closes()
    for _ in range(quarantine.MOST_TRIES):
        outcome = shadowed.reader(decoder=Dying).read(shadowed.model, "1.2.3")
        assert outcome.failures == {"the decoder was killed": 1}
        shadowed.passes(minutes=2)
    with shadowed.db.read() as conn:
        assert quarantine.quarantined(conn) == []
    shadowed.study.run(job_key)
    assert shadowed.study.counts()["reports"] == 1


def test_a_held_study_is_read_by_no_shadow(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    with shadowed.db.write() as conn:
        hold_study(conn, "1.2.3", "its images name different patients")
    assert shadowed.reader().read(shadowed.model, "1.2.3").failures == {NOT_CLOSED: 1}
    assert shadowed.readings() == []


def test_other_files_under_the_same_version_are_refused_until_the_first_are_forgotten(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    other = replace(shadowed.manifest.ref, digest="0" * 64)
    with shadowed.db.write() as conn:
        shadows.know(conn, shadowed.manifest.ref)
        shadows.know(conn, shadowed.manifest.ref)
    shadowed.reader().read(shadowed.model, "1.2.3")
    with pytest.raises(PreconditionMissing, match="version of their own"), shadowed.db.write() as conn:
        shadows.know(conn, other)
    with shadowed.db.write() as conn:
        assert shadows.forget_some(conn, other.name, other.version) == 1
        shadows.know(conn, other)
    assert (shadowed.readings(), shadowed.row("1.2.3")) == ([], None)


def test_a_reading_says_of_which_machine_and_kind_of_patient_and_how_long_it_took(shadowed) -> None:
    shadowed.stored("1.2.3", "first", Manufacturer="Acme  x", PatientSex="F", PatientAge="047Y")
    shadowed.reader().read(shadowed.model, "1.2.3")
    (reading,) = shadowed.readings()
    assert reading.subgroup == Subgroup("DX", "ACME X", "F", "40 to 59")
    assert reading.seconds > 0


def test_a_control_character_in_a_header_is_no_part_of_a_subgroups_name(shadowed) -> None:
    shadowed.stored("1.2.3", "first", Manufacturer="Ac\0me")
    shadowed.reader().read(shadowed.model, "1.2.3")
    assert shadowed.readings()[0].subgroup.manufacturer == "ACME"


def test_a_study_over_which_we_fail_is_tried_three_times_and_says_so(shadowed, monkeypatch) -> None:
    shadowed.stored("1.2.3", "first")

    def fails(*_):
        raise ValueError(CANARY_NAME)

    monkeypatch.setattr("consilium.shadow.reading.shadow_readings.put", fails)
    tried = []
    for _ in range(4):
        outcome = shadowed.reader().read(shadowed.model, "1.2.3")
        tried.append(dict(outcome.failures) if outcome else None)
        shadowed.passes(minutes=2)
    assert tried == [{"reading the study raised ValueError": 1}] * 3 + [None]


def test_what_was_read_of_a_study_is_told_when_the_rest_of_it_fails(shadowed, monkeypatch) -> None:
    shadowed.stored("1.2.3", "one", "two")
    put, turns = shadow_readings.put, iter((True, False))

    def once(*given):
        if next(turns):
            return put(*given)
        raise TypeError(CANARY_NAME)

    monkeypatch.setattr("consilium.shadow.reading.shadow_readings.put", once)
    outcome = shadowed.reader().read(shadowed.model, "1.2.3")
    assert (outcome.images, outcome.failures) == (1, {"reading the study raised TypeError": 1})
    with shadowed.db.write() as conn:
        hold_study(conn, "1.2.3", "its images name different patients")
    shadowed.passes(minutes=2)
    outcome = shadowed.reader().read(shadowed.model, "1.2.3")
    assert (outcome.images, outcome.failures) == (1, {NOT_CLOSED: 2})


def test_what_is_read_while_its_version_is_given_to_other_files_is_not_kept(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    with shadowed.db.write() as conn:
        shadows.know(conn, replace(shadowed.manifest.ref, digest="0" * 64))
    with pytest.raises(PreconditionMissing):
        shadowed.reader().read(shadowed.model, "1.2.3")
    assert shadowed.readings() == []


def test_every_study_that_is_read_stands_in_the_audit_without_its_patient(shadowed) -> None:
    shadowed.stored("1.2.3", "first")
    shadowed.reader().read(shadowed.model, "1.2.3")
    with shadowed.db.read() as conn:
        rows = conn.execute(select(audit).where(audit.c.action == "shadow-read")).mappings().all()
    assert [(row["outcome"], row["detail"]) for row in rows] == [
        ("done", '{"failed":0,"images":1,"model":"lung-nodule 2.0.0"}')
    ]


def test_a_replay_does_not_say_of_what_failed_before_that_it_is_read(shadowed) -> None:
    shadowed.stored("1.2.3", "one")
    shadowed.stored("1.2.4", "two")
    replay = Replay(shadowed.db, shadowed.reader(), lambda: shadowed.now, "operator:tester")
    assert replay.run(shadowed.model, ["1.2.3"], retry=False).read == 1
    shadowed.answers(Fault("the model crashed"))
    told = []
    for retry in (False, False, True):
        made = replay.run(shadowed.model, ["1.2.3", "1.2.4"], retry=retry)
        told.append((made.read, made.before, made.failed, made.not_tried))
    assert told == [(1, 1, 1, 0), (0, 1, 0, 1), (1, 1, 1, 0)]
