"""`consilium dicom`: receive images, and ask an archive what it takes before results are sent to it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinical.errors import NotFound, Unsupported
from consilium.commands.dicom_query import named

if TYPE_CHECKING:
    from dicom_node.preflight import Preflight

app = typer.Typer(help="Receive images by C-STORE; or, with a subcommand, ask about the archives.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
DicomPort = Annotated[int | None, typer.Option(help="DICOM port, 0 to choose a free one (CONSILIUM_DICOM_PORT).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.callback(invoke_without_command=True)
def dicom(context: typer.Context, data_dir: DataDir = None, dicom_port: DicomPort = None) -> None:
    """Receive images by C-STORE; or, with a subcommand, ask about the archives."""
    if context.invoked_subcommand is None:
        from consilium.cli import run_role, settings_of  # noqa: PLC0415 - the command line imports this module

        run_role("dicom", settings_of(data_dir=data_dir, dicom_port=dicom_port))


@app.command()
def check(
    destination: Annotated[str, typer.Argument(help="Name of an archive of CONSILIUM_PACS.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask an archive what results it takes: every SOP class with every transfer syntax, and a C-ECHO.

    Exit code 0: all results are taken; 1: some are not, or nobody answered.
    """
    from consilium.cli import settings_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from dicom_node.preflight import preflight  # noqa: PLC0415

    settings = settings_of(data_dir=data_dir)
    found = next((one for one in settings.pacs if one.name == destination), None)
    if found is None:
        raise NotFound(f"no archive of CONSILIUM_PACS has this name; {named([one.name for one in settings.pacs])}")
    if found.ae_title is None:
        raise Unsupported("this archive takes results by STOW-RS, which has nothing to negotiate")
    kinds = [kind for kind in settings.results if found.results is None or kind in found.results]
    said = preflight(House(settings).destinations[found.name], settings.ae_title)
    sys.stdout.write(json.dumps(as_values(said, kinds)) + "\n" if as_json else in_text(found.name, said, kinds))
    if found.commitment and said.problem is None and not said.commitment:
        raise Unsupported("storage commitment is asked for in CONSILIUM_PACS and not offered by the archive")
    raise typer.Exit(0 if said.usable(kinds) else 1)


@app.command()
def index(
    data_dir: DataDir = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make it anew from the stored objects.")] = False,
) -> None:
    """Bring the index that queries search by up to what is stored, or make it anew. The worker does the former."""
    import time  # noqa: PLC0415

    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    started = time.monotonic()
    try:
        count = house.header_index.rebuild(_tell) if rebuild else house.header_index.catch_up()
    finally:
        house.db.dispose()
    typer.echo(f"{count} objects indexed in {time.monotonic() - started:.1f} s.", err=True)


def _tell(count: int) -> None:
    if count % 10_000 == 0:
        typer.echo(f"{count} objects", err=True)


@app.command()
def conformance(
    every_service: Annotated[bool, typer.Option(help="With all services on, whatever the settings.")] = False,
) -> None:
    """Print the DICOM conformance statement (PS3.2) of the node as the settings make it, in Markdown."""
    import tempfile  # noqa: PLC0415

    from consilium.settings import load_settings  # noqa: PLC0415
    from consilium.statement import EVERY_SERVICE, node_of  # noqa: PLC0415
    from dicom_node.statement import as_markdown  # noqa: PLC0415

    settings = load_settings(**(EVERY_SERVICE if every_service else {}))
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(as_markdown(node_of(settings, Path(folder))))


@app.command()
def commitments(data_dir: DataDir = None) -> None:
    """Show which senders asked whether we keep their objects, and whether they could be told."""
    from consilium.cli import settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.operator import list_commitment_requests  # noqa: PLC0415

    show_table(list_commitment_requests(settings_of_a_store(data_dir)))


@app.command(name="workitems")
def list_steps(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    retry: Annotated[
        str | None, typer.Option(help="Let a step that was given up go on: its UID, or 'all'.")
    ] = None,
) -> None:
    """Show the steps of other worklists that are performed here, or let those that were given up go on."""
    from consilium.cli import errors, settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.workitems.listing import list_workitems, retry_workitems  # noqa: PLC0415

    settings = settings_of_a_store(data_dir)
    if retry is not None:
        count = retry_workitems(settings, None if retry == "all" else retry)
        errors.print(f"{count} {'goes' if count == 1 else 'go'} on; a worker takes them.")
        return
    rows = list_workitems(settings)
    if as_json:
        sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        show_table(rows)


def as_values(said: "Preflight", kinds: Sequence[str]) -> dict[str, Any]:
    """Return what an archive said as JSON values. kinds: those that are sent to it."""
    from dicom_node.preflight import CLASSES_OF_KIND  # noqa: PLC0415

    return {
        "problem": said.problem,
        "echo": said.echo,
        "usable": said.usable(kinds),
        "commitment": said.commitment,
        "kinds": {
            kind: {"taken": said.takes(kind), "sent": kind in kinds, "instead": said.instead_of(kind)}
            for kind in CLASSES_OF_KIND
        },
        "accepted": {sop_class: list(syntaxes) for sop_class, syntaxes in said.accepted.items()},
    }


def in_text(name: str, said: "Preflight", kinds: Sequence[str]) -> str:
    """Return what an archive said as lines for a terminal. kinds: those that are sent to it."""
    from pydicom.uid import UID  # noqa: PLC0415

    from dicom_node.preflight import SYNTAXES  # noqa: PLC0415

    if said.problem is not None:
        return f"{name}: {said.problem}\n"
    echo = {0: "answered", None: "not answered"}.get(said.echo, f"answered with status 0x{said.echo or 0:04X}")
    lines = [f"{name}: association accepted, C-ECHO {echo}", ""]
    heads = [one.name for one in SYNTAXES]
    width = max(len(UID(one).name) for one in said.accepted)
    for sop_class, taken in said.accepted.items():
        cells = ("yes" if str(one) in taken else "no" for one in SYNTAXES)
        words = ", ".join(f"{head} {cell}" for head, cell in zip(heads, cells, strict=True))
        lines.append(f"{UID(sop_class).name:<{width}}  {words if taken else 'refused'}")
    lines += ["", *(_verdict(kind, said) for kind in kinds)]
    lines.append(f"Storage commitment: {'offered' if said.commitment else 'not offered'}")
    return "\n".join(lines) + "\n"


def _verdict(kind: str, said: "Preflight") -> str:
    if said.takes(kind):
        return f"{kind}: taken"
    other = said.instead_of(kind)
    return (
        f"{kind}: refused; {f'{other} is taken and says the same' if other else 'nothing in its place is taken'}"
    )
