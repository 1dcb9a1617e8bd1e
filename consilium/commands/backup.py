"""`consilium backup` and `consilium restore`."""

from pathlib import Path
from typing import Annotated

import typer

from consilium.commands.bars import bars

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with 32 bytes or more, kept elsewhere: the backup is encrypted with it.")
]


def add_to(app: typer.Typer) -> None:
    """Add the two commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write everything that is durable into a folder, as it is now; the server may run."""
    from consilium.backing_up import backup as write  # noqa: PLC0415 - the command line imports this module
    from consilium.cli import errors, settings_of_a_store  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    with bars() as progress:
        manifest = write(settings, out, key_file, progress)
    rows = sum(rows for rows, _ in manifest["tables"].values())
    errors.print(f"Written: {rows} rows, {len(manifest['blobs'])} objects of {manifest['blob bytes']} bytes.")


def restore(
    source: Annotated[Path, typer.Option("--from", help="The folder of a backup.")],
    key_file: KeyFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make a server's data out of a backup, where there are none, and prove that they are the same."""
    from consilium.backing_up import restore as read  # noqa: PLC0415
    from consilium.cli import errors, settings_of  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    with bars() as progress:
        manifest = read(settings, source, key_file, progress)
    errors.print(f"Restored as it was at {manifest['began']}: every table and object has its digest.")
