"""The performer within the house: its rules, its settings, its loops, what an operator sees."""

import json
import threading
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from consilium.cli import app
from consilium.closing import FETCHED_WITHIN, Closing
from consilium.completing import Completing
from consilium.explain.prior_words import workitems_in_words
from consilium.rules import RulesWrong, read_rules
from consilium.rules.completion import Waits
from consilium.rules.workitems import WorkitemRule
from consilium.settings import SettingsError, load_settings
from consilium.wiring import House
from consilium.worker import ImageModels
from consilium.workitems.own import NAME as OWN
from consilium.workitems.rs import UpsRs
from consilium.workitems.wiring import FETCHES_AT_ONCE, measure_steps, once, workitem_loops, worklist_of
from dicom_node.ups.scu import UpsPull
from dicom_node.ups.workitem import read_workitem
from record_store import priors, readings, workitems
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.instances import CLOSED, OPEN, study_row
from record_store.migrate import migrate_if_needed
from record_store.study_history import history_of
from tests.consilium.workitems.conftest import NOW, STUDY, UID
from tests.consilium.workitems.test_fetching import fetching_slowly
from tests.dicom_node.ups.peer import step

RULES = 'version = 1\n[[workitem]]\nname = "chest"\nwhen.code = ["110004"]\n'
NODE = {"name": "ai", "host": "ups", "port": 11112, "ae_title": "UPSSCP"}


@pytest.mark.parametrize(
    ("clauses", "fits"),
    [
        ({"code": ("110004",)}, True),
        ({"code": ("110004^DCM",)}, True),
        ({"code": ("110004^99X", "110005")}, False),
        ({"station": ("consil*",)}, True),
        ({"station": ("ai",)}, True),
        ({"station": ("OTHER",)}, False),
        ({"procedure": ("*nodule*",)}, True),
        ({"procedure": ("*knee*",)}, False),
        ({"code": ("110004",), "station": ("OTHER",)}, False),
    ],
)
def test_a_rule_fits_a_step_by_all_its_clauses(clauses, fits) -> None:
    assert WorkitemRule("one", **clauses).fits(read_workitem(step())) is fits


def test_a_step_without_what_a_clause_looks_at_does_not_fit() -> None:
    bare = read_workitem(step(ScheduledStationNameCodeSequence=[], ProcedureStepLabel=""))
    assert not WorkitemRule("one", station=("*",)).fits(bare)
    assert WorkitemRule("one", code=("*",)).fits(bare)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[workitem]]\nname = "a"\nwhen = {}\n', "expected code, station or procedure"),
        (
            '[[workitem]]\nname = "a"\nwhen.code = ["1"]\narchive = "moon"\n',
            "archive: expected the name of an archive",
        ),
        ('[[workitem]]\nname = "a"\nwhen.code = ["1"]\nmodels = ["moon"]\n', "models: expected names of models"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_line(tmp_path, text, said) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("version = 1\n" + text)
    with pytest.raises(RulesWrong, match=said) as wrong:
        read_rules(path, models=["lung-nodule"], destinations=["main"])
    assert "moon" not in str(wrong.value)


@pytest.fixture
def given(tmp_path, no_settings):
    (tmp_path / "rules.toml").write_text(RULES)
    return {"data_dir": tmp_path, "rules_file": tmp_path / "rules.toml"}


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("ups", "said"),
    [
        ({"name": "ai"}, "expected url, or a DICOM node"),
        (NODE | {"url": "https://x/rs"}, "expected url, or a DICOM node"),
        ({"name": "ai", "url": "http://x/rs", "token": "secret"}, "expected an https address"),
    ],
)
def test_a_worklist_has_one_way_and_shows_its_token_over_tls_alone(ups, said, tmp_path) -> None:
    with pytest.raises(SettingsError, match=said) as wrong:
        load_settings(data_dir=tmp_path, ups=[ups])
    assert "secret" not in str(wrong.value)


@pytest.mark.usefixtures("no_settings")
def test_a_worklist_without_a_rule_stops_start_up(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"expected a \[\[workitem\]\] rule"):
        load_settings(data_dir=tmp_path, ups=[NODE])


def test_each_worklist_is_asked_in_its_way_by_a_loop_of_its_own(given) -> None:
    cloud = {"name": "cloud", "url": "https://ai.example/rs", "token": "secret"}
    house = House(load_settings(**given, ups=[NODE, cloud]))
    ways = [worklist_of(house, one) for one in house.settings.ups]
    assert [type(one) for one in ways] == [UpsPull, UpsRs]
    assert len(workitem_loops(house, lambda *_: None)) == 4 + FETCHES_AT_ONCE
    pushed = House(load_settings(**given, ups=[NODE], ups_aes=["RIS"]))
    assert len(workitem_loops(pushed, lambda *_: None)) == 5 + FETCHES_AT_ONCE  # subscribers are told, too
    pushed.db.dispose()
    assert workitem_loops(House(load_settings(**given)), lambda *_: None) == ()
    house.db.dispose()


def test_what_is_done_once_is_done_before_any_of_several_threads_goes_on() -> None:
    done, both = [], threading.Barrier(2)

    def slowly():
        done.append("begun")
        threading.Event().wait(0.05)
        done.append("ended")

    first = once(slowly)

    def loop():
        both.wait(10)
        first()
        done.append("on")

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert done == ["begun", "ended", "on", "on"]


def closing(near):
    class NoJobs:
        def enqueue(self, *_):
            pass

    return Closing(near.db, NoJobs(), lambda: ImageModels((), {}), Completing(Waits(1.0)), near.clock)


def prior(near):
    """Let the study be here as another study's prior, which was closed and read by nobody."""
    near.arrives()
    with near.db.write() as conn:
        priors.claim_question(conn, "1.6", "main", "older", NOW)
        priors.answer_question(conn, "1.6", NOW, found=1, chosen=[STUDY], problem=None)
    near.closes()


def test_a_study_that_a_step_names_is_read_though_it_was_fetched_as_a_prior(near) -> None:
    prior(near)
    near.looks(2)
    with near.db.read() as conn:
        assert (study_row(conn, STUDY).state, study_row(conn, STUDY).revision) == (OPEN, 2)
    near.looks(1)
    assert near.book.state() == "IN PROGRESS"
    assert closing(near).once() == 1
    with near.db.read() as conn:
        assert study_row(conn, STUDY).state == CLOSED
        why = history_of(conn, STUDY).acts[-1].detail["why"]
    assert why == "nothing came for 1 s"
    near.looks(3)
    assert near.row().state == workitems.CANCELED  # no model is there: it is not opened again and again


def test_a_study_that_is_still_fetched_is_not_read_however_long_nothing_came(near) -> None:
    with fetching_slowly(near):
        near.arrives(f"{STUDY}.2")
        near.at += timedelta(minutes=1)
        assert closing(near).once() == 0
        near.at += FETCHED_WITHIN
        assert closing(near).once() == 1  # nobody fetches it any more, whatever the row says
    with near.db.write() as conn:
        assert not workitems.comes(conn, STUDY, near.at - FETCHED_WITHIN)


def test_a_study_that_is_still_fetched_is_read_at_once_when_an_operator_says_that_it_is_complete(near) -> None:
    with fetching_slowly(near):
        near.arrives(f"{STUDY}.2")
        assert closing(near).once() == 0
        act = {"action": "study-forced", "outcome": "open", "actor": "operator:dr-blue", "subject": digest(STUDY)}
        with near.db.write() as conn:
            append_audit(conn, at=near.at, **act, detail={"revision": 1, "why": "it is urgent"})
        assert closing(near).once() == 1
    with near.db.read() as conn:
        assert history_of(conn, STUDY).acts[-1].detail["why"] == "an operator said that it is complete"


def test_that_no_step_waits_any_more_is_measured_also_of_those_that_were_pushed_to_us(given) -> None:
    house = House(load_settings(**given, ups_aes=["ORCHESTRATOR"]))
    migrate_if_needed(house.db)

    def waiting():
        measure_steps(house)
        return REGISTRY.get_sample_value("consilium_workitems_waiting", {"worklist": OWN, "state": "wanted"})

    with house.db.write() as conn:
        workitems.keep(conn, OWN, UID, transaction_uid="2.25.9", rule="chest", codes=[], now=NOW)
    assert waiting() == 1
    with house.db.write() as conn:
        workitems.go_on(conn, workitems.every(conn)[0], workitems.COMPLETED, NOW)
    assert waiting() == 0
    house.db.dispose()


def test_explain_says_which_steps_asked_for_a_study(near) -> None:
    near.looks(3)
    near.closes((readings.FAILED, "the model has crashed"))
    near.looks(2)
    with near.db.read() as conn:
        told = workitems_in_words(history_of(conn, STUDY).workitems)
    assert told == (
        f"workitem {digest(UID)} of ai, by rule 'chest': canceled (model-0 failed: the model has crashed)",
    )


def test_an_operator_sees_the_steps_and_lets_one_go_on(given, monkeypatch) -> None:
    monkeypatch.setenv("CONSILIUM_DATA_DIR", str(given["data_dir"]))
    house = House(load_settings(**given))
    migrate_if_needed(house.db)
    with house.db.write() as conn:
        workitems.keep(conn, "ai", UID, transaction_uid="2.25.9", rule="chest", codes=[], now=NOW)
        one = workitems.every(conn)[0]
        workitems.go_on(conn, one, workitems.DEAD, NOW, stopped_in=workitems.WANTED, problem="the worklist failed")
    run = CliRunner().invoke
    (shown,) = map(json.loads, run(app, ["dicom", "workitems", "--json"]).stdout.splitlines())
    assert (shown["workitem"], shown["state"], shown["why"]) == (UID, "dead (wanted)", "the worklist failed")
    assert "chest" in run(app, ["dicom", "workitems"]).stdout
    assert run(app, ["dicom", "workitems", "--retry", "2.25.404"]).exit_code == 1
    assert run(app, ["dicom", "workitems", "--retry", UID]).exit_code == 0
    with house.db.read() as conn:
        assert workitems.every(conn)[0].state == workitems.WANTED
    house.db.dispose()
