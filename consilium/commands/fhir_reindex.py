"""`consilium fhir reindex`: make the index of an upgraded store anew at once, not when the worker gets there."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reindex")(reindex)


def reindex(data_dir: DataDir = None) -> None:
    """Make the search index anew of what an earlier release stored.

    The server may run, and its worker does the same by itself. It can be stopped and run again.
    """
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters import reindex as reindexing  # noqa: PLC0415
    from record_store.reindexing import stale_count  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.read() as conn:
            waiting = stale_count(conn)
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=waiting)
            done = reindexing.reindex(
                house.db, f"{house.base_url}/fhir", told=lambda count: bar.advance(task, count)
            )
        house.db.count_rows()
        with house.db.read() as conn:
            left = stale_count(conn)
    finally:
        house.db.dispose()
    typer.echo(f"{done} resources indexed, {left} left")
