"""`consilium cds feedback` and `consilium cds outcomes`, as an operator types them."""

import json
import os
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from typer.testing import CliRunner

from clinical.errors import IncorrectInput
from clinical.pseudonym import Pseudonyms
from consilium import logs, worker_role
from consilium.commands.cds import app
from consilium.feedback_names import pseudonyms_of
from consilium.settings import load_settings
from consilium.wiring import House


@pytest.fixture
def run(own_clinic, tmp_path, monkeypatch):
    """run(*arguments) -> what was printed; the clinic's cards are in the folder and were sent just now."""
    for name in list(os.environ):
        if name.startswith("CONSILIUM_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)  # the suite watches the logs itself
    monkeypatch.setenv("COLUMNS", "250")
    own_clinic.at = datetime.now(UTC)
    own_clinic.names = Pseudonyms(pseudonyms_of(House(load_settings(data_dir=tmp_path))).key)

    def call(*arguments):
        found = CliRunner().invoke(app, [*map(str, arguments), "--data-dir", str(tmp_path)])
        if isinstance(found.exception, IncorrectInput):
            raise found.exception
        assert found.exit_code == 0, found.output
        return found.stdout

    return call


def test_the_tables_say_what_became_of_the_cards(own_clinic, run) -> None:
    cards = [own_clinic.sends() for _ in range(4)]
    own_clinic.says(own_clinic.accepted(cards[0]), own_clinic.overridden(cards[1], "action-completed"))
    said = run("feedback")
    assert "Recommended action was already completed" in said
    assert "50 % (9 to 91) of 2" in said
    assert "PPV proxy 100 %" in said
    assert "If the threshold were" in said


def test_json_is_the_same_as_the_page_s_and_holds_no_comment_unless_it_is_asked_for(own_clinic, run) -> None:
    own_clinic.says(own_clinic.overridden(own_clinic.sends(), comment="Zzcanary"))
    plain, asked = json.loads(run("feedback", "--json")), json.loads(run("feedback", "--json", "--comments"))
    assert plain["groups"][0]["overridden"] == 1
    assert "Zzcanary" not in str(plain)
    assert asked.pop("comments")[0]["user_comment"] == "Zzcanary"
    assert {**asked, "since": 0, "until": 0} == {**plain, "since": 0, "until": 0}


def test_a_store_without_cards_says_so(run) -> None:
    assert "No card was sent" in run("feedback", "--service", "none")


def test_outcomes_are_taken_in_from_a_file(own_clinic, run, tmp_path) -> None:
    own_clinic.sends(patient="4711")
    file = tmp_path / "outcomes.csv"
    file.write_text(
        "\ufeffissuer,patient,service,happened,observed_at\nhttps://ehr.example,4711,diabetes-risk,yes,2999-01-01\n",
        encoding="utf-8",
    )
    run("outcomes", file)
    (model,) = json.loads(run("feedback", "--json"))["models"]
    assert model["outcome_ppv"]["share"] == 1
    assert b"4711" not in (tmp_path / "consilium.db").read_bytes()


def test_a_file_that_is_no_text_is_refused(run, tmp_path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IncorrectInput, match="cannot be read"):
        run("outcomes", tmp_path / "x.csv")


def test_the_worker_removes_what_is_older_than_the_retention(own_clinic, run, tmp_path) -> None:
    house = House(load_settings(data_dir=tmp_path, card_retention_days=30))
    own_clinic.at = datetime.now(UTC) - timedelta(days=31)
    own_clinic.sends()
    own_clinic.later(days=2)
    own_clinic.sends()
    assert worker_role.purge_cards(house) == 1
    assert sum(group["sent"] for group in json.loads(run("feedback", "--json"))["groups"]) == 1
    assert "purge" in {
        loop._thread.name for loop in worker_role._loops(house, models=None, jobs=None, stopping=Event())
    }
    house.db.dispose()
