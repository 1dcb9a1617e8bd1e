"""`consilium fhir`: records in from files. More commands come from modules of their own (`add_to`)."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilium.importing import Outcome
    from consilium.wiring import House
    from fhir_adapters.importing.items import Problem
    from fhir_adapters.importing.target import Target

app = typer.Typer(
    no_args_is_help=True, help="FHIR: files in, results to other servers and keys for them, the index, clients."
)

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
_REPORT = Path("fhir-import-problems.ndjson")


@app.callback()
def fhir() -> None:
    """Bring FHIR resources in from files, follow results to other servers, show keys, the index, the clients."""


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Bundles, NDJSON, or folders of them.")],
    data_dir: DataDir = None,
    to: Annotated[
        str | None, typer.Option(help="Another FHIR server: a name of CONSILIUM_FHIR_DESTINATIONS, or a URL.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge everything and write nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also files that were imported before.")] = False,
    trust_ids: Annotated[
        bool, typer.Option("--trust-ids", help="An id of a Patient in the files means the Patient here.")
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="Of a transaction too, import what is right and leave out the rest.")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where to write what is not imported, and why (NDJSON).")] = _REPORT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Import Bundles (transaction, batch, collection) and NDJSON, also .gz, into the store or a server.

    It can be stopped and run again: nothing comes in twice. Exit code 1: something was refused (see the report).
    """
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.importing import import_files  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        target_of = partial(_target_of, house, to, dry_run)
        shown = Console(stderr=True)
        done = import_files(
            house, target_of, paths, report=report, console=shown, again=again, trust_ids=trust_ids, each=each
        )
    finally:
        house.db.dispose()
    if as_json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    else:
        _show(done, dry_run=dry_run)
    raise typer.Exit(1 if done.refused else 0)


@app.command()
def keys(
    name: Annotated[str, typer.Argument(help="A name of CONSILIUM_FHIR_DESTINATIONS.")], data_dir: DataDir = None
) -> None:
    """Print the JWK Set to register with a FHIR server; its key is made when there is none yet."""
    from consilium.cli import settings_of  # noqa: PLC0415
    from consilium.remotes import public_keys  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    typer.echo(json.dumps(public_keys(House(settings_of(data_dir=data_dir)), name), indent=2))


@app.command()
def deliveries(
    data_dir: DataDir = None,
    state: Annotated[str | None, typer.Option(help="Only those of this state: pending, sent, dead.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only those to this server.")] = None,
    resend: Annotated[bool, typer.Option("--resend", help="Try the dead ones again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """Show which AI results went to which FHIR server and why one is not there, or send again."""
    from consilium.cli import errors, settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store import fhir_deliveries  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        if resend:
            with house.db.write() as conn:
                count = fhir_deliveries.resend(conn, destination, house.now())
            errors.print(f"{count} deliveries will be tried again.")
            return
        with house.db.read() as conn:
            rows = [asdict(one) for one in fhir_deliveries.listed(conn, state, destination)]
    finally:
        house.db.dispose()
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        show_table(rows)


def _target_of(house: "House", to: str | None, rehearsal: bool, tell: "Callable[[Problem], None]") -> "Target":
    from consilium.importing import fhir_of  # noqa: PLC0415
    from fhir_adapters.importing.remote import RemoteTarget  # noqa: PLC0415
    from fhir_adapters.importing.writing import Store  # noqa: PLC0415

    if to is None:
        return Store(fhir_of(house), rehearsal=rehearsal)
    from consilium.remotes import remote_called  # noqa: PLC0415

    return RemoteTarget(remote_called(house, to), house.db, house.now, tell, rehearsal)


def _show(done: "Outcome", *, dry_run: bool) -> None:
    counted = {name: count for name, count in asdict(done).items() if name != "report"}
    table = Table(*counted, title="What an import would do" if dry_run else None)
    table.add_row(*map(str, counted.values()))
    Console().print(table)
    if done.report:
        typer.echo(f"What was refused, and why: {done.report}", err=True)
