"""`consilium wearables`: what watches recorded, in from files."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Bring in what watches recorded.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
_REPORT = Path("wearables-import-problems.ndjson")


class Lots(StrEnum):
    """How long one Observation is."""

    DAY = "day"
    HOUR = "hour"


@app.callback()
def wearables() -> None:
    """Bring in what watches recorded."""


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV or NDJSON, also .gz.")],
    source: Annotated[str, typer.Option(help="URI of who names the wearers: the system of their identifiers.")],
    data_dir: DataDir = None,
    zone: Annotated[str, typer.Option(help="Where the watch's clock was, as Europe/Berlin.")] = "UTC",
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"], help="Of a layout without a clock: its first minute."
        ),
    ] = None,
    window: Annotated[Lots, typer.Option(help="One Observation a day, or an hour.")] = Lots.DAY,
    every_s: Annotated[int, typer.Option("--every", min=1, max=86_400, help="Of NDJSON: seconds a sample.")] = 60,
    make_patients: Annotated[
        bool, typer.Option("--make-patients", help="Make charts for unknown wearers.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where to write what was not read, and why (NDJSON).")] = _REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Import the CSV layouts of the Fitbit and Apple Watch sets, or single Observations (NDJSON), as SampledData.

    The same file again changes nothing, a longer one adds what is new. Exit code 1: some lines were not read.
    """
    from consilium.cli import settings_of_a_store, show_table  # noqa: PLC0415 - the command line imports this module
    from consilium.wearing import Wearing, import_wearables  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    how = Wearing(source, zone, start, hourly=window is Lots.HOUR, every_s=every_s, make_patients=make_patients)
    house = House(settings_of_a_store(data_dir))
    try:
        done = import_wearables(house, paths, how, report=report, console=Console(stderr=True))
    finally:
        house.db.dispose()
    if as_json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    else:
        show_table([asdict(done)])
    if done.unread:
        typer.echo(f"What was not read, and why: {report}", err=True)
    raise typer.Exit(1 if done.unread else 0)
