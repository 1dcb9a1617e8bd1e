"""`consilium audit`: whether the audit is whole, and what it says for other systems."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Verify the audit, or export it as FHIR AuditEvents.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


@app.callback()
def audit() -> None:
    """Verify the audit, or export it as FHIR AuditEvents."""


@app.command()
def verify(data_dir: DataDir = None) -> None:
    """Read the whole audit again and say whether any sealed row was changed, removed or slipped in.

    Exit code 0: it is whole; 1: it is not. Note the head elsewhere: it must still be there the next time.
    """
    from consilium.auditing import AUDIT_KEY  # noqa: PLC0415 - the command line imports this module
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.keys import derived_key  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.audit_chain import verify as verified  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        found = verified(house.db, derived_key(house.key, AUDIT_KEY))
    finally:
        house.db.dispose()
    typer.echo(f"sealed and whole: {found.rows} rows; not sealed yet: {found.unsealed}; head {found.head}")
    if found.broken_at is not None:
        typer.echo(f"The audit was altered at row {found.broken_at} or behind it.", err=True)
        raise typer.Exit(1)


@app.command()
def export(
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="From this time on (UTC).")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write AuditEvents to standard output, one JSON object a line (NDJSON), oldest first."""
    from consilium.auditing import exported  # noqa: PLC0415
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.times import to_text  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.read() as conn:
            for body in exported(conn, to_text(since.replace(tzinfo=UTC)) if since else ""):
                sys.stdout.buffer.write(body + b"\n")
    finally:
        house.db.dispose()
