"""`consilium codes`: local codes that no table knows, whether a table can be used, and what it adds."""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

AT_ONCE = 200  # resources a transaction, so that nobody who writes waits long

app = typer.Typer(no_args_is_help=True, help="Local codes that no table knows; check a table, or apply it.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
Table = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A table of codes (CSV).")
]


@app.callback()
def codes() -> None:
    """Local codes that no table knows; check a table, or apply it."""


@app.command()
def unmapped(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Lines for CONSILIUM_CODES_FILE, to be filled in.")
    ] = False,
) -> None:
    """Show the codes of results and orders that no standard system and no table knows, most frequent first."""
    from consilium.cli import settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.code_tables import table_now  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters.standardise import COLUMNS, STANDARD  # noqa: PLC0415
    from record_store.code_counts import local_codes  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        table = table_now(house.db, house.settings.codes_file)
        with house.db.read() as conn:
            found = [one for one in local_codes(conn, STANDARD) if not table.codes(one.system, one.code)]
    finally:
        house.db.dispose()
    rows = [
        {"system": one.system, "code": one.code, "called": one.text, "resources": one.resources} for one in found
    ]
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow((*COLUMNS, "called"))
        writer.writerows((one.system, one.code, "", "", "", one.text) for one in found)
    elif as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        show_table(rows)


@app.command()
def check(file: Table) -> None:
    """Say whether a table of codes can be used: its lines, and the check digits of standard codes."""
    from clinical.errors import IncorrectInput  # noqa: PLC0415
    from fhir_adapters.standardise import from_csv  # noqa: PLC0415

    try:
        table = from_csv(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise IncorrectInput("expected a file in UTF-8") from None
    typer.echo(f"{len(table)} codes have a standard one.")


@app.command()
def apply(data_dir: DataDir = None) -> None:
    """Add what the tables say to results and orders that are stored already; each becomes its next version."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.code_tables import table_now  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters.recoding import recode  # noqa: PLC0415
    from record_store.audit import append  # noqa: PLC0415
    from record_store.code_counts import coded_with  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    changed, outcome = 0, "failed"
    try:
        try:
            table = table_now(house.db, house.settings.codes_file)
            with house.db.read() as conn:
                names = coded_with(conn, table.matches)
            for start in range(0, len(names), AT_ONCE):
                with house.db.write() as conn:
                    changed += recode(
                        conn, names[start : start + AT_ONCE], table, house.now(), f"{house.base_url}/fhir"
                    )
            outcome = "done"
        finally:
            with house.db.write() as conn:
                detail = {"resources": changed}
                append(
                    conn,
                    at=house.now(),
                    action="codes-applied",
                    outcome=outcome,
                    actor="operator",
                    subject="",
                    detail=detail,
                )
    finally:
        house.db.dispose()
    typer.echo(f"{changed} resources have gained standard codes.")
