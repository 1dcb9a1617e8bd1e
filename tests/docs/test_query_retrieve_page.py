"""docs/query-retrieve.md: its example is a setting that is taken, and its keys are those that are matched."""

import json
import re
from pathlib import Path

from consilium.settings import Settings
from dicom_node.query.attributes import ATTRIBUTES, Level
from dicom_node.query.find_scp import MOST_MATCHES

PAGE = (Path(__file__).parents[2] / "docs" / "query-retrieve.md").read_text(encoding="utf-8")


def test_the_example_of_the_setting_is_taken(tmp_path) -> None:
    (example,) = re.findall(r"^```json\n(.+?)^```", PAGE, re.M | re.S)
    pacs = [{"name": "workstation", "host": "pacs", "port": 104, "ae_title": "WS", "results": []}]
    settings = Settings(data_dir=tmp_path, pacs=pacs, query_aes=json.loads(example))
    assert settings.query_aes["XRAY-1"].sees == "own"


def test_the_keys_of_each_level_are_those_of_the_index() -> None:
    for level in Level:
        (row,) = re.findall(rf"^\| {level.name} \| (.+) \|$", PAGE, re.M)
        assert set(row.split(", ")) == {one.keyword for one in ATTRIBUTES if one.level is level}


def test_the_limit_is_the_one_of_the_code() -> None:
    assert f"more than {MOST_MATCHES:,} matches" in PAGE
