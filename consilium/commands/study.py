"""`consilium study`: what an operator asks of one study, named by its UID or by the digest of lists and logs."""

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clinical.errors import NotFound

app = typer.Typer(no_args_is_help=True, help="Explain one study, complete or release it, or try rules on it.")

Named = Annotated[str, typer.Argument(metavar="STUDY", help="Study Instance UID, or its digest.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
Why = Annotated[str, typer.Option(help="Why, for the audit and 'explain'; do not name the patient.")]
By = Annotated[str | None, typer.Option(help="Who says so, for the audit; by default who runs the command.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.callback()
def study() -> None:
    """Explain one study, complete or release it, or try rules on it."""


@app.command()
def explain(named: Named, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say for every stage what happened to a study: from received to committed."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.explain.reader import explainer_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from model_runtime.engine import LocalEngine  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        told = explainer_of(house, LocalEngine(house.library)).explain(named)
    finally:
        house.db.dispose()
    sys.stdout.write(json.dumps(told) + "\n" if as_json else in_text(told))


@app.command()
def trace(named: Named, data_dir: DataDir = None) -> None:
    """Print a study's way from association to delivered result as one trace, for an OpenTelemetry collector."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.explain.trace import as_otlp  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.study_history import find_study, history_of  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.read() as conn:
            uid = find_study(conn, named)
            history = None if uid is None else history_of(conn, uid)
    finally:
        house.db.dispose()
    if history is None:
        raise NotFound("no study has this UID or digest; 'consilium studies' lists the digests")
    sys.stdout.write(json.dumps(as_otlp(history)) + "\n")


@app.command()
def complete(named: Named, why: Why, by: By = None, data_dir: DataDir = None) -> None:
    """Say that a study is complete as it is: a worker reads it now, with late objects that a rule had ignored."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.operator import force_study  # noqa: PLC0415

    force_study(settings_of_a_store(data_dir), named, by=by or getpass.getuser(), why=why)
    typer.echo("A worker will close the study at once.", err=True)


@app.command()
def release(named: Named, why: Why, by: By = None, data_dir: DataDir = None) -> None:
    """Let a held study go on, after a person has looked at it: it is read as it is, as a new revision."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.operator import release_held_study  # noqa: PLC0415

    release_held_study(settings_of_a_store(data_dir), named, by=by or getpass.getuser(), why=why)
    typer.echo("The study goes on as a new revision.", err=True)


@app.command()
def send(
    named: Named,
    to: Annotated[str, typer.Option(help="Name of a destination of CONSILIUM_PACS.")],
    data_dir: DataDir = None,
) -> None:
    """Send the received images of a study to a destination: under a pseudonym, where that has "deidentify"."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.operator import send_study  # noqa: PLC0415

    count = send_study(settings_of_a_store(data_dir), named, to)
    typer.echo(f"{count} objects will be sent; 'consilium deliveries' shows how that goes.", err=True)


@app.command("dry-run")
def dry_run(
    named: Named,
    rules: Annotated[Path | None, typer.Option(help="Try this file instead of CONSILIUM_RULES_FILE.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say which model would read which image of a stored study by the rules, and which clause decided."""
    from consilium.cli import settings_of, settings_of_a_store  # noqa: PLC0415
    from consilium.explain.dry_run import in_text as shown  # noqa: PLC0415
    from consilium.explain.reader import dry_run_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from model_runtime.engine import LocalEngine  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    if rules is not None:
        house = House(settings_of(data_dir=data_dir, rules_file=rules))
    try:
        told = dry_run_of(house, LocalEngine(house.library)).run(named)
    finally:
        house.db.dispose()
    sys.stdout.write(json.dumps(told) + "\n" if as_json else shown(told))


def in_text(told: dict[str, Any]) -> str:
    """Return an explanation as lines for a terminal."""
    lines = [f"study {told['study']}, {told['state']}, revision {told['revision']}"]
    for stage in told["stages"]:
        lines.append(f"{stage['stage']:<10} {stage['state']}: {stage['words']}")
        lines += [f"{'':<12} {line}" for line in stage["lines"]]
    return "\n".join(lines) + "\n"
