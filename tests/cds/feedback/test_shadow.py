"""A service in shadow mode is recorded and seen by nobody."""

import json

import pytest
from sqlalchemy import select

from cds.guidance import Guidance
from clinical.errors import Busy, PreconditionMissing
from record_store.database import open_database
from record_store.tables import audit, sent_card, shadow_call


def rows(db, table):
    with db.read() as conn:
        return conn.execute(select(table)).mappings().all()


def test_what_would_have_been_said_is_kept_with_its_score(clinic) -> None:
    card = clinic.card()
    clinic.shadow("diabetes-risk").record(clinic.call(), Guidance((card,)))
    (row,) = rows(clinic.db, sent_card)
    assert (row["card"], row["shadow"], row["probability"], row["score_bin"]) == (card.uuid, 1, 0.4, 8)
    (call,) = rows(clinic.db, shadow_call)
    assert (call["cards"], call["problem"]) == (1, None)
    assert call["patient_key"] == row["patient_key"]
    assert clinic.shadowed == [("diabetes-risk", "cards")]


def test_a_call_without_a_card_is_kept_too_so_that_misses_can_be_counted(clinic) -> None:
    clinic.shadow("diabetes-risk").record(clinic.call(), Guidance())
    assert [call["cards"] for call in rows(clinic.db, shadow_call)] == [0]
    assert clinic.shadowed == [("diabetes-risk", "no-cards")]


@pytest.mark.parametrize(
    ("error", "category"),
    [(PreconditionMissing("no bmi"), "precondition"), (Busy("late"), "busy"), (ValueError("Zzcanary"), "fault")],
)
def test_a_failure_is_audited_and_counted_without_its_text(clinic, error, category) -> None:
    clinic.shadow("diabetes-risk").record(clinic.call(), error)
    (call,) = rows(clinic.db, shadow_call)
    assert (call["cards"], call["problem"]) == (0, category)
    (row,) = rows(clinic.db, audit)
    assert (row["action"], row["outcome"], row["subject"]) == ("shadow-failed", category, "service:diabetes-risk")
    assert set(json.loads(row["detail"])) == {"hook", "hook_instance"}
    assert clinic.shadowed == [("diabetes-risk", category)]


def test_a_call_that_cannot_be_recorded_is_counted_as_such(one_clinic, tmp_path) -> None:
    one_clinic.db = open_database(f"sqlite:///{tmp_path / 'absent' / 'x.db'}")
    with pytest.raises(Busy):
        one_clinic.shadow("diabetes-risk").record(one_clinic.call(), Guidance())
    assert one_clinic.shadowed == [("diabetes-risk", "unrecorded")]
