"""`consilium audit`: whether the audit is whole, and what it says for other systems."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Verify the audit, archive its oldest rows, export it.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


@app.callback()
def audit() -> None:
    """Verify the audit, archive its oldest rows, or export it as FHIR AuditEvents."""


Archives = Annotated[
    list[Path] | None, typer.Option("--archive", help="An archive, the oldest first; repeatable.")
]


@app.command()
def verify(data_dir: DataDir = None, archives: Archives = None) -> None:
    """Read the whole audit again and say whether any sealed row was changed, removed or slipped in.

    Exit code 0: it is whole; 1: it is not. Note the head elsewhere: it must still be there the next time.
    """
    from consilium.auditing import AUDIT_KEY  # noqa: PLC0415 - the command line imports this module
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.keys import derived_key  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.audit_archive import verify_archive  # noqa: PLC0415
    from record_store.audit_chain import verify as verified  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        key = derived_key(house.key, AUDIT_KEY)
        found = verified(house.db, key)
        kept = [verify_archive(path, key) for path in archives or ()]
    finally:
        house.db.dispose()
    for one in kept:
        typer.echo(f"archive whole: {one.rows} rows up to row {one.last_row}, sha256 {one.sha256}")
    heads = [one.head for one in kept]
    if kept and [*(one.before for one in kept[1:]), found.archive_head] != heads:
        typer.echo("The archives do not follow one another up to where the database begins.", err=True)
        raise typer.Exit(1)
    if found.archived_to:
        typer.echo(f"archived: the rows up to {found.archived_to}")
    typer.echo(f"sealed and whole: {found.rows} rows; not sealed yet: {found.unsealed}; head {found.head}")
    if found.broken_at is not None:
        typer.echo(f"The audit was altered at row {found.broken_at} or behind it.", err=True)
        raise typer.Exit(1)


@app.command()
def archive(
    file: Annotated[Path, typer.Argument(help="The new file; keep it where the database cannot be reached from.")],
    before: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="What was sealed before then (UTC)."),
    ],
    data_dir: DataDir = None,
) -> None:
    """Move old rows of the audit into a file (NDJSON), verified before they are deleted. AuditEvents stay.

    `consilium audit verify --archive FILE` verifies it with the database: the chain goes on over both.
    """
    from clinical.clock import utc_now  # noqa: PLC0415
    from consilium.auditing import AUDIT_KEY, Auditing  # noqa: PLC0415
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.keys import derived_key  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.audit_archive import archive as archived  # noqa: PLC0415
    from record_store.times import to_text  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        key = derived_key(house.key, AUDIT_KEY)
        auditing = Auditing(house.db, key, utc_now, house.settings.ae_title, f"{house.base_url}/fhir")
        made = archived(house.db, key, to_text(before.replace(tzinfo=UTC)), file, utc_now, auditing.once)
    finally:
        house.db.dispose()
    if made is None:
        typer.echo("Nothing was sealed before then.")
    else:
        typer.echo(f"archived: {made.rows} rows up to row {made.last_row}; head {made.head}; sha256 {made.sha256}")


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
