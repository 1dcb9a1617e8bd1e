"""`consilium dicom quarantine`: what was refused as malformed, or ended its decoder, and what to do with it."""

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from consilium.wiring import House

app = typer.Typer(no_args_is_help=True, help="Look after objects that were refused or ended their decoder.")

Named = Annotated[str, typer.Argument(metavar="OBJECT", help="First digits of its sha256, as listed.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
By = Annotated[str | None, typer.Option(help="Who does it, for the audit; by default who runs the command.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@app.command("list")
def listed(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the objects in quarantine: from whom, when, and why. No patient is named."""
    from consilium.cli import show_table  # noqa: PLC0415 - the command line imports this module
    from consilium.quarantining import rows  # noqa: PLC0415

    with _house(data_dir) as house:
        found = rows(house)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        show_table(found)


@app.command()
def show(named: Named, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show all that is known of one that was refused. No patient is named."""
    from consilium.quarantining import details  # noqa: PLC0415

    with _house(data_dir) as house:
        found = details(house, named)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<16} {value}\n" for name, value in found.items()))


@app.command()
def export(
    named: Named,
    to: Annotated[Path, typer.Option(help="A file that is not there yet, or a folder.")],
    by: By = None,
    data_dir: DataDir = None,
) -> None:
    """Write one out as it came, for a vendor's support. It holds patient data; the audit notes who had it."""
    from consilium.quarantining import export as export_one  # noqa: PLC0415

    with _house(data_dir) as house:
        path = export_one(house, named, to, by or getpass.getuser())
    typer.echo(f"{path} holds a patient's data.", err=True)


@app.command()
def release(named: Named, by: By = None, data_dir: DataDir = None) -> None:
    """Try one again, after an upgrade or a corrected setting, as if it came now.

    Exit code 0: it is stored and has left the quarantine; 1: it was refused again and stays.
    """
    from consilium.quarantining import release as release_one  # noqa: PLC0415

    with _house(data_dir) as house:
        released = release_one(house, named, by or getpass.getuser())
    typer.echo(released.words, err=True)
    raise typer.Exit(0 if released.is_out else 1)


@app.command()
def remove(named: Named, by: By = None, data_dir: DataDir = None) -> None:
    """Remove one for good."""
    from consilium.quarantining import remove as remove_one  # noqa: PLC0415

    with _house(data_dir) as house:
        remove_one(house, named, by or getpass.getuser())
    typer.echo("Removed.", err=True)


@contextmanager
def _house(data_dir: Path | None) -> "Iterator[House]":
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        yield house
    finally:
        house.db.dispose()
