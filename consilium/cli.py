"""`consilium`: serve, the three roles one by one, and what an operator asks.

Nothing heavy is imported here: each command imports what it runs, so that `consilium --help` is instant and
`consilium serve` starts its children before anything else.
"""

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clinical.errors import ClinicalError, PreconditionMissing
from consilium.commands import ai as ai_commands
from consilium.commands import audit as audit_commands
from consilium.commands import backup as backup_commands
from consilium.commands import cds as cds_commands
from consilium.commands import codes as codes_commands
from consilium.commands import dicom as dicom_commands
from consilium.commands import (
    dicom_quarantine,
    dicom_query,
    fhir_clients,
    fhir_imaging_study,
    fhir_reindex,
    study_shadow,
)
from consilium.commands import fhir as fhir_commands
from consilium.commands import hl7 as hl7_commands
from consilium.commands import research as research_commands
from consilium.commands import study as study_commands
from consilium.commands import subscriptions as subscription_commands
from consilium.commands import wearables as wearable_commands
from consilium.settings import Settings, SettingsError
from consilium.starting import UNUSABLE_SETTINGS, usable_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Clinical decision support: images and records in, cards, FHIR resources and DICOM results out.",
)
app.add_typer(ai_commands.app, name="ai")
app.add_typer(audit_commands.app, name="audit")
backup_commands.add_to(app)
app.add_typer(cds_commands.app, name="cds")
app.add_typer(codes_commands.app, name="codes")
dicom_query.add_to(dicom_commands.app)
dicom_commands.app.add_typer(dicom_quarantine.app, name="quarantine")
app.add_typer(dicom_commands.app, name="dicom")
fhir_imaging_study.add_to(fhir_commands.app)
fhir_reindex.add_to(fhir_commands.app)
fhir_commands.app.add_typer(fhir_clients.app, name="clients")
app.add_typer(fhir_commands.app, name="fhir")
app.add_typer(research_commands.app, name="research")
app.add_typer(hl7_commands.app, name="hl7")
study_shadow.add_to(study_commands.app)
app.add_typer(study_commands.app, name="study")
app.add_typer(wearable_commands.app, name="wearables")
app.add_typer(subscription_commands.app, name="subscriptions")
errors = Console(stderr=True, highlight=False, soft_wrap=True)
PIPED_WIDTH = 1000  # a script that greps must not find a line broken at column 80

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
HttpPort = Annotated[int | None, typer.Option(help="HTTP port, 0 to choose a free one (CONSILIUM_HTTP_PORT).")]
DicomPort = Annotated[int | None, typer.Option(help="DICOM port, 0 to choose a free one (CONSILIUM_DICOM_PORT).")]


class DeliveryState(StrEnum):
    """States that one may ask for."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    SUPERSEDED = "superseded"


def settings_of(**overrides: object) -> Settings:
    try:
        return usable_settings(**overrides)
    except SettingsError as exc:
        errors.print("[bold red]The settings are not usable:[/]")
        for line in exc.lines:
            errors.print(f"  {line}", markup=False)
        raise typer.Exit(UNUSABLE_SETTINGS) from None


def settings_of_a_store(data_dir: Path | None) -> Settings:
    """Return the settings when the database is there and prepared: a question must not find it half made."""
    from consilium import health, logs  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    logs.configure("ERROR", role="cli")
    problem = health.migrations_check(House(settings).db)()
    if problem:
        raise PreconditionMissing(f"{problem}, or name the folder of a server that has run (CONSILIUM_DATA_DIR)")
    return settings


@app.command()
def serve(data_dir: DataDir = None, http_port: HttpPort = None, dicom_port: DicomPort = None) -> None:
    """Run web, dicom and worker under one parent; print one JSON line with the ports when ready."""
    from consilium.supervise import serve as run_all  # noqa: PLC0415

    raise typer.Exit(run_all(settings_of(data_dir=data_dir, http_port=http_port, dicom_port=dicom_port)))


@app.command()
def web(data_dir: DataDir = None, http_port: HttpPort = None) -> None:
    """Serve CDS Hooks, FHIR and the pages over HTTP."""
    run_role("web", settings_of(data_dir=data_dir, http_port=http_port))


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Read studies with the models, write the results and send them back."""
    run_role("worker", settings_of(data_dir=data_dir))


def run_role(name: str, settings: Settings) -> None:
    """Run one of the three processes until it ends, and end with its exit code."""
    from consilium import roles  # noqa: PLC0415

    run: Callable[[Settings], int] = roles.ROLES[name]
    raise typer.Exit(run(settings))


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version's schema."""
    from consilium import logs  # noqa: PLC0415
    from consilium.wiring import prepare_storage  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    logs.configure("ERROR", role="migrate")
    count = prepare_storage(settings)
    errors.print("The database is up to date." if count == 0 else f"{count} migrations done.")


@app.command()
def doctor(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Say in words what is wrong with the settings, the database, the models and the ports."""
    from consilium.doctor import examine  # noqa: PLC0415

    findings = examine(settings_of(data_dir=data_dir))
    if as_json:
        sys.stdout.write(json.dumps({name: one.as_text() for name, one in findings.items()}) + "\n")
    else:
        for name, one in findings.items():
            errors.print(f"{'[red]no[/] ' if one.wrong else '[green]ok[/] '} {name:<13} ", end="")
            errors.print(one.text, markup=False)
    raise typer.Exit(1 if any(one.wrong for one in findings.values()) else 0)


@app.command()
def deliveries(
    data_dir: DataDir = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those of this state.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only those to this archive.")] = None,
    resend: Annotated[bool, typer.Option("--resend", help="Try the dead ones again.")] = False,
    named: Annotated[
        str | None, typer.Option("--object", help="With --resend: the object of this digest, in whatever state.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """Show what was sent back to which archive and why it is not there, or send again."""
    from consilium import operator  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    if resend:
        errors.print(f"{operator.resend(settings, destination, named)} deliveries will be tried again.")
        return
    rows = operator.list_deliveries(settings, state, destination)
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        show_table(rows)


@app.command()
def studies(data_dir: DataDir = None) -> None:
    """Show the studies received, their state, and why one is held ('consilium study release' lets it go on)."""
    from consilium.operator import list_studies  # noqa: PLC0415

    show_table(list_studies(settings_of_a_store(data_dir)))


@app.command()
def jobs(
    data_dir: DataDir = None,
    retry: Annotated[bool, typer.Option("--retry", help="Queue the failed ones again.")] = False,
) -> None:
    """Show the study jobs that are not done and why one failed, or queue the failed ones again."""
    from consilium.operator import list_jobs, retry_failed  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    if retry:
        errors.print(f"{retry_failed(settings)} jobs will be tried again.")
        return
    show_table(list_jobs(settings))


@app.command()
def exports(
    data_dir: DataDir = None,
    cancel: Annotated[str | None, typer.Option(help="Stop the export of this id, or give its files up.")] = None,
) -> None:
    """Show the bulk exports that clients asked for, and why one failed, or cancel one."""
    from consilium.operator import cancel_export, list_exports  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    if cancel is None:
        show_table(list_exports(settings))
    else:
        cancel_export(settings, cancel)
        errors.print("Cancelled; a worker removes its files.")


@app.command()
def demo(
    image: Annotated[Path | None, typer.Option(help="A PNG or DICOM file; a phantom without it.")] = None,
    breast: Annotated[
        bool, typer.Option("--breast", help="A breast ultrasound instead of a chest radiograph.")
    ] = False,
    patient: Annotated[Path | None, typer.Option(help="A FHIR Bundle (JSON) with the patient's record.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server and its folder when done.")] = False,
) -> None:
    """Send a chest radiograph, or a breast ultrasound, through the whole house and show what comes out."""
    from consilium.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(run_demo(image=image, patient=patient, as_json=as_json, keep=keep, breast=breast))


def show_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table, or that there are none."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        errors.print("Nothing there.")
        return
    table = Table()
    for at, name in enumerate(rows[0]):
        # The first column is what other commands are given, by copy and paste: it is never cut or folded.
        table.add_column(
            name, no_wrap=at == 0, min_width=_widest(rows, name) if at == 0 else None, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    console.print(table)


def _widest(rows: list[dict[str, Any]], name: str) -> int:
    return max(len(_cell(row[name])) for row in rows)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def main() -> None:
    """Run the command line; what an operator can mend is said in one line and not as a traceback."""
    try:
        app(prog_name="consilium")
    except ClinicalError as exc:
        errors.print(f"consilium: {exc.message}", markup=False)
        sys.exit(1)
