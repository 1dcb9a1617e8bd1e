"""docs/workitems.md: its examples are taken as settings and rules, its states and reasons are the code's."""

import json
import re
from pathlib import Path

from consilium.rules import read_rules
from consilium.rules.entries import WorkitemEntry, WorkitemWhenEntry
from consilium.setting_values import UpsWorklist
from consilium.workitems.ending import REASONS
from consilium.workitems.wiring import KEPT_DAYS, MOST_FETCHES
from dicom_node.query.worklist import Code
from dicom_node.ups.workitem import read_workitem
from record_store import workitems
from record_store.deliveries import RetryPolicy
from tests.dicom_node.ups.peer import step

PAGE = (Path(__file__).parents[2] / "docs" / "workitems.md").read_text(encoding="utf-8")


def test_the_example_of_the_setting_is_taken() -> None:
    (example,) = re.findall(r"^```json\n(.+?)^```", PAGE, re.M | re.S)
    dimse, rs = (UpsWorklist.model_validate(one) for one in json.loads(example))
    assert (dimse.ae_title, rs.url, rs.poll_s) == ("UPSSCP", "https://ai.example/dicom-web", 30)


def test_the_example_of_a_rule_does_what_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.+?)^```", PAGE, re.M | re.S)
    path = tmp_path / "rules.toml"
    path.write_text(example, encoding="utf-8")
    (rule,) = read_rules(path, models=["lung-nodule"], destinations=["pacs"]).workitem
    assert rule.fits(read_workitem(step()))
    assert (rule.archive, rule.by, rule.counts("lung-nodule"), rule.counts("other")) == (
        "pacs",
        "move",
        True,
        False,
    )


def test_every_key_state_and_reason_has_its_place_on_the_page() -> None:
    keys = {f"when.{one}" for one in WorkitemWhenEntry.model_fields}
    keys |= set(WorkitemEntry.model_fields) - {"when", "name"} | set(UpsWorklist.model_fields)
    states = {*workitems.UNDER_WAY, workitems.COMPLETED, workitems.CANCELED, workitems.LOST, workitems.DEAD}
    assert {one for one in keys | states if f"`{one}`" not in PAGE} == set()
    said = set(re.findall(r"^\| (\d{6} [A-Za-z ]+) \|", PAGE, re.M))
    assert said == {f"{one.code} {one.display}" for one in REASONS.values()}


def test_the_attempts_on_the_page_are_those_of_the_code() -> None:
    assert (MOST_FETCHES, KEPT_DAYS) == (6, 30)
    assert "after thirty days" in PAGE
    assert RetryPolicy().max_attempts == 18
    assert "six times" in PAGE
    assert "eighteen times" in PAGE
    assert Code("110004", "DCM", "Computer Aided Detection") in read_workitem(step()).codes
