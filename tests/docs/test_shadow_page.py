"""docs/shadow.md: its numbers, names and example are those of the code."""

import re
from datetime import timedelta
from pathlib import Path

from clinical.agreement import RESAMPLES
from consilium.rules import read_rules
from consilium.shadow.comparison import SMALLEST_GROUP, compared
from consilium.shadow.process import LONGEST_REST_S
from consilium.shadow.traffic import CATCH_UP
from record_store.shadows import LIVE_PATIENCE, MOST_ATTEMPTS, REST

TEXT = (Path(__file__).parents[2] / "docs" / "shadow.md").read_text(encoding="utf-8")


def test_its_example_is_read(tmp_path) -> None:
    (example,) = re.findall(r"^```toml\n(.+?)^```", TEXT, re.M | re.S)
    path = tmp_path / "rules.toml"
    path.write_text(example, encoding="utf-8")
    assert read_rules(path, models=[], destinations=[], shadows=["lung-nodule@2.0.0"]).shadow


def test_its_numbers_are_those_of_the_code() -> None:
    assert (3, timedelta(minutes=1)) == (MOST_ATTEMPTS, REST)
    assert "is tried three times, a minute apart" in TEXT
    assert timedelta(days=7) == CATCH_UP
    assert "catches up on seven days" in TEXT
    assert timedelta(minutes=10) == LIVE_PATIENCE
    assert "those of the last ten minutes" in " ".join(TEXT.split())
    assert LONGEST_REST_S == 300
    assert "grows to five minutes" in TEXT
    assert f"bootstrap of {RESAMPLES} over studies" in TEXT
    assert f"`--smallest` images ({SMALLEST_GROUP})" in TEXT


def test_every_figure_of_the_json_is_named() -> None:
    told = compared([])
    assert [name for name in told if name not in {"caveat", "images", "studies"} and f"`{name}`" not in TEXT] == []
