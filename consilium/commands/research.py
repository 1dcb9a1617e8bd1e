"""`consilium research`: what leaves for research, without the people in it."""

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consilium.commands.bars import bars

app = typer.Typer(no_args_is_help=True, help="Export the record for research, de-identified.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


class Form(StrEnum):
    """What the files are."""

    NDJSON = "ndjson"
    PARQUET = "parquet"
    BOTH = "both"


@app.callback()
def research() -> None:
    """Export the record for research, de-identified."""


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    name: Annotated[
        str,
        typer.Option(
            "--for", help="For whom: each name has pseudonyms of its own; images sent there have the same."
        ),
    ] = "research",
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type; may stand several times.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Files to write.")] = Form.NDJSON,
    systems: Annotated[
        list[str] | None, typer.Option("--system", help="A code system of yours whose codes name nobody.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who does it, for the audit; by default who runs the command.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write every resource that consent allows without names, numbers, words and places, with dates moved."""
    from rich.console import Console  # noqa: PLC0415 - the command line imports this module

    from consilium.cli import settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.researching import export_for_research  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    console = Console(stderr=True, highlight=False)
    with bars() as progress:
        manifest = export_for_research(
            settings,
            out,
            name=name,
            types=types or (),
            form=form.value,
            systems=systems or (),
            by=by or getpass.getuser(),
            progress=progress,
        )
    show_table([{"type": kind, "resources": count} for kind, count in manifest["resources"].items()])
    left_out, groups = manifest["left out for consent"], manifest["quasi-identifiers"]
    console.print(f"Left out for consent: {left_out['patients']} patients, {left_out['resources']} resources.")
    if groups["patients in them"]:
        console.print(
            f"[yellow]{groups['patients in them']} patients are in groups of fewer than five alike[/] (birth year,"
            " sex, place): who knows one of them may recognise him. manifest.json counts the groups."
        )
