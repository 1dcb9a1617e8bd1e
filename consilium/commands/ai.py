"""`consilium ai`: what an operator does with AI results: recall those of a model version, compute one again."""

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clinical.errors import IncorrectInput

app = typer.Typer(no_args_is_help=True, help="Recall the results of a model version, or compute a result again.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")]
AT_ONCE = 1_000


@app.callback()
def ai() -> None:
    """Recall the results of a model version, or compute a result again."""


@app.command()
def recall(
    model: Annotated[str, typer.Argument(help="NAME@VERSION, as `lung-nodule@1.0.0`.")],
    reason: Annotated[
        str, typer.Option(help="Why: it stands in each result, in the Provenance and in the audit.")
    ],
    digest: Annotated[str, typer.Option(help="Only of the model whose manifest has this SHA-256.")] = "",
    keep_confirmed: Annotated[bool, typer.Option(help="Leave alone what a person has confirmed.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    by: Annotated[str | None, typer.Option(help="Who does it; your account's name by default.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set every result of a model version to entered-in-error, and say what is left to do.

    It may be cut off and started again: what is in error already is passed over.
    """
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.operating_ai import operator_fhir  # noqa: PLC0415
    from consilium.operator import checked_operator  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters.rest.ai.changes import Who  # noqa: PLC0415
    from fhir_adapters.rest.ai.recall import Recalled, Total  # noqa: PLC0415
    from fhir_adapters.rest.ai_recall import recall as recalled  # noqa: PLC0415
    from fhir_adapters.rest.ai_recall import told  # noqa: PLC0415

    name, _, version = model.partition("@")
    if not (name and version):
        raise IncorrectInput("name the model and its version, as lung-nodule@1.0.0")
    what = Recalled(name, version, digest, reason, keep_confirmed)
    who = Who(checked_operator(by or getpass.getuser()))
    house = House(settings_of_a_store(data_dir))
    try:
        fhir, whole = operator_fhir(house), Total()
        while True:
            part = recalled(fhir, what, who, after=whole.next, most=AT_ONCE, dry_run=dry_run)
            whole.join(part)
            if not whole.next:
                break
            typer.echo(f"{whole.retracted} results so far", err=True)
        answer = told(fhir, what, whole, dry_run=dry_run)
    finally:
        house.db.dispose()
    sys.stdout.write(json.dumps(answer) + "\n" if as_json else in_words(answer))


@app.command()
def replay(
    named: Annotated[str, typer.Argument(help="TYPE/ID of an Observation, RiskAssessment or DiagnosticReport.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute a result again from what is stored and compare. Exit code 0: the same, 1: different."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.replay_requests import told  # noqa: PLC0415
    from consilium.replaying import Replaying  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from model_runtime.engine import LocalEngine  # noqa: PLC0415

    kind, _, ident = named.partition("/")
    house = House(settings_of_a_store(data_dir))
    try:
        engine = LocalEngine(house.library, house.placement)
        replaying = Replaying(house.db, house.blobs, engine, lambda: house.decoder, house.now)
        found = replaying.run(kind, ident)
    finally:
        house.db.dispose()
    answer = told(found)
    sys.stdout.write(json.dumps(answer) + "\n" if as_json else in_words(answer))
    raise typer.Exit(1 if found.differences else 0)


def in_words(answer: dict[str, Any]) -> str:
    """Return the answer's Parameters as lines for a terminal."""
    lines = []
    for one in answer["parameter"]:
        if "part" in one:
            inner = ", ".join(str(_value(part)) for part in one["part"])
            lines.append(f"{one['name']}: {inner}")
        else:
            lines.append(f"{one['name']}: {_value(one)}")
    return "\n".join(lines) + "\n"


def _value(parameter: dict[str, Any]) -> object:
    value = next(value for name, value in parameter.items() if name != "name")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value["reference"] if isinstance(value, dict) else value
