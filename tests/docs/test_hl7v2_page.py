"""docs/hl7v2.md names every event, table and command that there is, and no other."""

import re
from pathlib import Path

from consilium.commands.hl7 import app
from fhir_adapters.hl7v2 import tables
from fhir_adapters.hl7v2.mapping import EVENTS

PAGE = (Path(__file__).parents[2] / "docs" / "hl7v2.md").read_text(encoding="utf-8")


def test_every_event_is_told():
    told = dict(re.findall(r"^\| `(\w+\^\w+)` \| ([^|]+) \|", PAGE, re.M))
    assert told == {f"{kind}^{event}": one.what for (kind, event), one in EVENTS.items()}


def test_every_table_is_told():
    told = {
        number: dict(re.findall(r"`([^`]+)` ([a-z-]+)", codes))
        for number, codes in re.findall(r"^\| (\d{4}) -> [a-z-]+ \| (.+) \|$", PAGE, re.M)
    }
    assert told == {
        "0001": tables.SEX,
        "0038": tables.ORDER_STATUS,
        "0085": tables.OBSERVATION_STATUS,
        "0119": tables.ORDER_CONTROL,
        "0123": tables.REPORT_STATUS,
        "0485": tables.PRIORITY,
    }


def test_every_command_that_is_named_exists():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^consilium hl7 (\w+)", PAGE, re.M)) <= commands
