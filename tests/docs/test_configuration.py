"""docs/configuration.md says what the settings are: each one, with its default."""

import json
import re
from pathlib import Path

import pytest

from consilium.settings import PREFIX, Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROWS = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.M))


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(ROWS) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_documented_default_is_the_default(name: str) -> None:
    default = Settings.model_fields[name].default
    shown = ROWS[name.upper()]
    if default is None:
        assert not shown.startswith("`")
    else:
        expected = json.dumps(default) if isinstance(default, tuple) else str(default)
        assert shown == f"`{expected}`"


@pytest.mark.parametrize(
    "name", ["compose.yaml", "example.env", "nginx/nginx.conf", "../README.md", "../Dockerfile"]
)
def test_every_setting_that_is_named_elsewhere_exists(name: str) -> None:
    text = (PAGE.parents[1] / "deploy" / name).resolve().read_text(encoding="utf-8")
    known = {field.upper() for field in Settings.model_fields} | {"VERSION"}
    named = re.findall(rf"{PREFIX}([A-Z0-9_]+)", text)
    assert [word for word in named if not {word, word.removesuffix("_FILE")} & known] == []
