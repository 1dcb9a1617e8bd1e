"""`consilium study shadow|replay|compare`: models whose findings nobody is shown. Added to `consilium study`."""

import getpass
import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from clinical.errors import IncorrectInput, PreconditionMissing

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
By = Annotated[str | None, typer.Option(help="Who does it, for the audit; by default who runs the command.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(shadow)
    app.command()(replay)
    app.command()(compare)


def shadow(
    data_dir: DataDir = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="The worker that started it.")] = None,
) -> None:
    """Read what arrives with the models that the rules name under `shadow`. The worker starts it."""
    from consilium import logs  # noqa: PLC0415
    from consilium.cli import settings_of_a_store  # noqa: PLC0415 - the command line imports this module
    from consilium.shadow.process import run_shadow  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    logs.configure(settings.log_level, role="shadow")
    house = House(settings)
    if not settings.rules().shadow:
        raise PreconditionMissing("no rule names a model to read in shadow: `shadow` in CONSILIUM_RULES_FILE")
    try:
        run_shadow(house, parent)
    finally:
        house.db.dispose()


def replay(
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY...", help="UIDs or digests; without them every stored study."),
    ] = None,
    model: Annotated[str, typer.Option(help="NAME@VERSION, or NAME when only one version is here.")] = "",
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="Studies that came on this day (UTC) or later."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Studies that came before this day (UTC)."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also what has failed three times.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Instead: remove all that the model has read.")] = False,
    by: By = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Have a model read stored studies, for nobody to see. Live jobs go first; it can be cut off and run again.

    Exit code 1: an image could not be read, now or before, or not every study was looked at.
    """
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.commands.bars import bars  # noqa: PLC0415
    from consilium.operator import checked_operator  # noqa: PLC0415
    from consilium.shadow.models import shadow_models_of  # noqa: PLC0415
    from consilium.shadow.process import NICER, reader_of  # noqa: PLC0415
    from consilium.shadow.replay import Replay  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    if not model:
        raise IncorrectInput("name the model: --model lung-nodule@2.0.0")
    if since and until and since >= until:
        raise IncorrectInput("--from has to be an earlier day than --to, which is the first that is left out")
    if named and (since or until):
        raise IncorrectInput("name studies, or days: not both")
    if forget and (named or since or until or retry):
        raise IncorrectInput("--forget removes all that the model has read: name no studies or days with it")
    actor = checked_operator(by or getpass.getuser())
    house = House(settings_of_a_store(data_dir))
    try:
        replaying = Replay(house.db, reader_of(house, _stopping()), house.now, actor)
        if forget:
            name, version = named_version(model)
            typer.echo(f"{replaying.forget(name, version)} readings removed.", err=True)
            return
        os.nice(NICER)
        one = shadow_models_of(house).named(model)
        uids = replaying.studies(one, named or [], _utc(since), _utc(until))
        with bars() as tell:
            made = replaying.run(one, uids, lambda done, total: tell("studies", done, total), retry=retry)
    finally:
        house.decoder.close()
        house.db.dispose()
    told = asdict(made)
    sys.stdout.write(json.dumps(told) + "\n" if as_json else _in_words(told))
    raise typer.Exit(1 if made.failed or made.not_tried or made.left else 0)


def compare(
    live: Annotated[str, typer.Option(help="NAME@VERSION of the live model.")],
    shadow: Annotated[str, typer.Option(help="NAME@VERSION of the model that read in shadow or a replay.")],
    smallest: Annotated[int, typer.Option(min=2, help="Images from which on a subgroup is told of.")] = 10,
    each: Annotated[bool, typer.Option("--each", help="With --json: a row an image, by digests.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write Bland and Altman's plots into this SVG file.")] = None,
    by: By = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how far two models agree about the images that both have read, and not which of them is right."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.operator import checked_operator  # noqa: PLC0415
    from consilium.shadow.comparing import Comparing, Model  # noqa: PLC0415
    from consilium.shadow.plot import plot_of  # noqa: PLC0415
    from consilium.shadow.words import in_words  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    if each and not as_json:
        raise IncorrectInput("--each is a part of the JSON: give --json too")
    first, second = Model(*named_version(live)), Model(*named_version(shadow))
    actor = checked_operator(by or getpass.getuser())
    house = House(settings_of_a_store(data_dir))
    try:
        comparing = Comparing(house.db, house.blobs, house.now, actor)
        told, rows = comparing.run(first, second, smallest=smallest)
    finally:
        house.db.dispose()
    if plot is not None:
        try:
            plot.write_text(plot_of(rows, first.label, second.label), encoding="utf-8")
        except OSError as problem:
            raise IncorrectInput(f"the plot cannot be written ({problem.strerror})") from None
    if each:
        told["each"] = [asdict(row) for row in rows]
    sys.stdout.write(json.dumps(told) + "\n" if as_json else in_words(told, rows))


def named_version(text: str) -> tuple[str, str]:
    """Return the name and version of NAME@VERSION. Raises IncorrectInput for anything else."""
    name, _, version = text.partition("@")
    if not (name and version):
        raise IncorrectInput("name each model and its version, as lung-nodule@2.0.0")
    return name, version


def _stopping() -> threading.Event:
    """Return what is set when the command is to end: by Ctrl-C or SIGTERM, after the image in hand."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _utc(day: datetime | None) -> datetime | None:
    return None if day is None else day.replace(tzinfo=UTC)


def _in_words(told: dict[str, int]) -> str:
    said = (
        f"{told['studies']} studies: {told['read']} read now ({told['images']} images),"
        f" {told['before']} read before, {told['failed']} with failures,"
        f" {told['not_tried']} not tried (failed before, or another process has them), {told['left']} left\n"
    )
    return said + "Run it again to go on.\n" if told["left"] else said
