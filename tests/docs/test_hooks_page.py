"""docs/hooks.md lists each hook with its fields and each status, and its example is a hook."""

import re
from pathlib import Path

from cds.hooks import HOOKS, Hook
from consilium.pages.hooks import STATUSES

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")


def test_every_hook_is_documented_with_its_version_and_its_fields() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([\d.]+) \| (.*?) \| (.*?) \|$", PAGE, re.M)
    documented = [
        (name, version, re.findall(r"`(\w+)`", must), re.findall(r"`(\w+)`", may))
        for name, version, must, may in rows
    ]
    assert documented == [
        (
            hook.name,
            hook.version,
            [rule.name for rule in hook.fields if rule.required],
            [rule.name for rule in hook.fields if not rule.required],
        )
        for hook in HOOKS.values()
    ]


def test_every_status_is_documented_in_the_words_of_the_page_for_people() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|$", PAGE, re.M)
    assert {int(status): meaning for status, meaning in rows} == STATUSES


def test_the_example_of_an_own_hook_is_one() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    made: dict[str, object] = {}
    exec(example, made)
    hook = made["STUDY_ARRIVED"]
    assert isinstance(hook, Hook)
    assert hook.name == "org.example.study-arrived"
