"""`consilium wearables import` put together."""

import io
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from clinical.errors import IncorrectInput
from consilium.importing import Bar, Report, fhir_of, noted, watched
from consilium.setting_values import zone_named
from consilium.wiring import House

if TYPE_CHECKING:
    from fhir_adapters.importing.sources import Source
    from fhir_adapters.wearables.keeping import Worn
    from fhir_adapters.wearables.layouts import Clock
    from fhir_adapters.wearables.readings import Reading, Unread

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wearing:
    """How files of wearables are read. zone: name of a time zone. start: by that zone's clock."""

    source: str
    zone: str
    start: datetime | None
    hourly: bool
    every_s: int
    make_patients: bool


def import_wearables(
    house: House, paths: Sequence[Path], how: Wearing, *, report: Path, console: Console
) -> "Worn":
    """Import files and note it in the audit. Raises IncorrectInput, PreconditionMissing, Busy."""
    from fhir_adapters.importing.items import Place, Problem  # noqa: PLC0415 - for who imports only
    from fhir_adapters.importing.sources import find  # noqa: PLC0415
    from fhir_adapters.wearables.keeping import Keeper  # noqa: PLC0415
    from fhir_adapters.wearables.layouts import Clock  # noqa: PLC0415
    from fhir_adapters.wearables.readings import day_of, hour_of  # noqa: PLC0415

    try:
        zone = zone_named(how.zone)
    except (LookupError, ValueError):
        raise IncorrectInput("--zone is the name of a time zone, as Europe/Berlin") from None
    clock = Clock(zone, how.start.replace(tzinfo=zone) if how.start else None)
    sources, problems = find(paths, tables=True), Report(report)
    keeper = Keeper(fhir_of(house), zone, hour_of if how.hourly else day_of, how.make_patients)
    with (
        watched(problems, console) as bar,
        noted(house, "wearables-import", len(sources), lambda: asdict(keeper.done), missed="unread"),
    ):
        bar.stage("importing", sum(one.size for one in sources))
        for source in sources:

            def unread(one: "Unread", path: Path = source.path) -> None:
                problems.add(Problem(Place(path, line=one.line), one.reason))

            try:
                with closing(_readings(source, how, clock, bar)) as readings:
                    keeper.take(readings, unread)
            except UnicodeDecodeError:
                raise IncorrectInput("a table is read as UTF-8") from None
    return keeper.done


def _readings(source: "Source", how: Wearing, clock: "Clock", bar: Bar) -> Generator["Reading | Unread"]:
    from fhir_adapters.importing.pieces import lines  # noqa: PLC0415
    from fhir_adapters.importing.sources import Layout  # noqa: PLC0415
    from fhir_adapters.wearables import layouts, observations  # noqa: PLC0415

    with source.opened() as opened:
        if source.layout is Layout.TABLE:
            with io.TextIOWrapper(opened, encoding="utf-8-sig", newline="") as text:
                yield from layouts.readings_of(text, how.source, clock)
        elif source.layout is Layout.NDJSON:
            yield from observations.readings_of(lines(opened), how.source, how.every_s)
        else:
            raise IncorrectInput("wearables are read from .csv and .ndjson; a Bundle goes through 'fhir import'")
    bar.advance(source.size)
