"""`consilium cds feedback` and `consilium cds outcomes`: what became of the cards, and what really happened."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from clinical.errors import IncorrectInput

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
MOST_COMMENTS = 1000


def feedback(
    data_dir: DataDir = None,
    days: Annotated[int, typer.Option(min=1, help="Cards of so many days, up to now.")] = 90,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    hook: Annotated[str | None, typer.Option(help="Only this hook.")] = None,
    model_version: Annotated[str | None, typer.Option(help="Only this version of a model.")] = None,
    client: Annotated[str | None, typer.Option(help="Only this client, by its short name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
    comments: Annotated[
        bool, typer.Option("--comments", help="Users' comments too: they may hold patients' data.")
    ] = False,
) -> None:
    """Show what became of the cards: accepted, overridden and why, ignored, held back, and in shadow mode."""
    from cds.feedback.report import report_of  # noqa: PLC0415 - nothing heavy before it is asked for
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.commands import feedback_tables  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store import feedback_tallies  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    now = house.now()
    span = feedback_tallies.Span(now - timedelta(days=days), now, service, hook, model_version, client)
    with house.db.read() as conn:
        report = report_of(conn, span)
        said = feedback_tallies.comments(conn, span, MOST_COMMENTS) if comments else []
    if as_json:
        sys.stdout.write(json.dumps(report.to_json() | ({"comments": said} if comments else {})) + "\n")
        return
    feedback_tables.show(report)
    if comments:
        feedback_tables.table("Comments", said)


def outcomes(
    file: Annotated[Path, typer.Argument(help="CSV: card,issuer,patient,service,happened,observed_at")],
    data_dir: DataDir = None,
) -> None:
    """Take in what really happened, by card or by patient and service (docs/feedback.md)."""
    from cds.feedback.outcomes import import_outcomes, read_outcomes  # noqa: PLC0415
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.feedback_names import pseudonyms_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            found = read_outcomes(lines, pseudonyms_of(house))
    except (OSError, UnicodeDecodeError):
        raise IncorrectInput("the file cannot be read as UTF-8 text") from None
    import_outcomes(house.db, found, house.now)
    typer.echo(f"{len(found)} outcomes taken in.", err=True)
