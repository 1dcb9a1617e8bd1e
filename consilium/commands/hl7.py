"""`consilium hl7`: take HL7 v2 messages, see what was not understood, have it mapped again, send."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fhir_adapters.hl7v2.intake import Intake
    from record_store.hl7_messages import Kept

app = typer.Typer(help="Take HL7 v2 messages over MLLP, see what was not understood, have it mapped again, send.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]
Port = Annotated[int | None, typer.Option(help="Port, 0 to choose a free one (CONSILIUM_HL7_PORT).")]
Digest = Annotated[str, typer.Argument(metavar="DIGEST", help="First digits of a message's sha256, as listed.")]
File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Messages, one or more.")]


@app.callback(invoke_without_command=True)
def hl7(context: typer.Context, data_dir: DataDir = None, hl7_port: Port = None) -> None:
    """Take HL7 v2 messages over MLLP; or, with a subcommand, look after them."""
    if context.invoked_subcommand is None:
        from consilium.cli import run_role, settings_of  # noqa: PLC0415 - the command line imports this module

        run_role("hl7", settings_of(data_dir=data_dir, hl7_port=hl7_port))


@app.command()
def quarantine(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list.")] = False,
) -> None:
    """Show the messages that could not be mapped, and why. What they say is not shown."""
    from consilium.cli import settings_of_a_store, show_table  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.hl7_messages import quarantined  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.read() as conn:
            rows = [_row(one) for one in quarantined(conn)]
    finally:
        house.db.dispose()
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        show_table(rows)


def _row(one: "Kept") -> dict[str, Any]:
    return {
        "message": one.sha256[:12],
        "received": one.received_at,
        "sender": one.sender,
        "peer": one.peer,
        "kind": one.kind,
        "code": one.code,
        "why": one.problem,
        "attempts": one.attempts,
    }


@app.command()
def show(named: Digest, data_dir: DataDir = None) -> None:
    """Write a message to standard output as it was received. It names the patient."""
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.audit import append  # noqa: PLC0415
    from record_store.hl7_messages import named as found  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.write() as conn:
            one = found(conn, named)
            append(
                conn,
                at=house.now(),
                action="hl7-shown",
                outcome="shown",
                actor="operator",
                subject=one.sha256[:12],
            )
    finally:
        house.db.dispose()
    sys.stdout.buffer.write(one.body)


@app.command()
def replay(
    named: Annotated[str | None, typer.Argument(metavar="DIGEST", help="One message; without it, all.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Map messages of the quarantine again, after the table, the settings or this program has changed.

    Exit code 0: all of them are stored now; 1: some are still not understood.
    """
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.hl7_site import intake_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from record_store.audit import append  # noqa: PLC0415
    from record_store.hl7_messages import QUARANTINED, quarantined  # noqa: PLC0415
    from record_store.hl7_messages import named as found  # noqa: PLC0415

    house = House(settings_of_a_store(data_dir))
    try:
        with house.db.read() as conn:
            waiting = [found(conn, named)] if named else quarantined(conn)
        again = [one for one in waiting if one.state == QUARANTINED]
        stored = replayed(intake_of(house), again)
        with house.db.write() as conn:
            append(
                conn,
                at=house.now(),
                action="hl7-replayed",
                outcome="stored" if stored == len(waiting) else "quarantined",
                actor="operator",
                subject=named or "all",
                detail={"messages": len(again), "stored": stored},
            )
    finally:
        house.db.dispose()
    typer.echo(f"{stored} of {len(waiting)} messages are stored now.", err=True)
    raise typer.Exit(0 if stored == len(waiting) else 1)


def replayed(intake: "Intake", messages: "list[Kept]") -> int:
    """Take messages again, one by one in the order in which they came; return how many are stored now."""
    from fhir_adapters.hl7v2.intake import Incoming  # noqa: PLC0415

    outcomes = [intake.take([Incoming(one.body, one.peer, one.received_at)])[0].outcome for one in messages]
    return outcomes.count("stored")


@app.command()
def send(
    file: File,
    host: Annotated[str, typer.Option(help="The receiver.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 2575,
    tls_ca: Annotated[Path | None, typer.Option(help="Whom to believe; with it the connection is TLS.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for each answer.")] = 30.0,
) -> None:
    """Send messages over MLLP, each when the one before is answered; a line for each answer.

    Exit code 0: all were accepted (AA, CA); 1: some were not, or nobody answered.
    """
    from dicom_node.tls import Credentials, TlsContexts  # noqa: PLC0415
    from fhir_adapters.hl7v2.client import messages_in, sender  # noqa: PLC0415

    tls = TlsContexts(Credentials(ca=tls_ca), server=False).context() if tls_ca else None
    refused = 0
    with sender(host, port, timeout_s=wait, tls=tls) as connection:
        for message in messages_in(file.read_bytes()):
            answer = connection.send(message)
            refused += not answer.accepted
            typer.echo(f"{answer.control_id} {answer.code} {answer.text}".rstrip())
    raise typer.Exit(1 if refused else 0)


@app.command("map")
def as_fhir(file: File, data_dir: DataDir = None) -> None:
    """Write the FHIR Bundle that each message of a file would become, one a line. Nothing is stored."""
    from clinical.errors import IncorrectInput  # noqa: PLC0415
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.hl7_site import site_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415
    from fhir_adapters.hl7v2.bundle import as_bundle  # noqa: PLC0415
    from fhir_adapters.hl7v2.client import messages_in  # noqa: PLC0415
    from fhir_adapters.hl7v2.errors import MessageError  # noqa: PLC0415
    from fhir_adapters.hl7v2.mapping import map_message  # noqa: PLC0415
    from fhir_adapters.hl7v2.message import parse  # noqa: PLC0415
    from fhir_adapters.hl7v2.text import decoded  # noqa: PLC0415
    from fhir_adapters.verbatim import dumps  # noqa: PLC0415

    site = site_of(House(settings_of_a_store(data_dir)))()
    for number, data in enumerate(messages_in(file.read_bytes()), 1):
        try:
            bundle = as_bundle(map_message(parse(decoded(data, site.charset)), site))
        except MessageError as error:
            raise IncorrectInput(f"message {number}: {error.reason}") from None
        sys.stdout.buffer.write(dumps(bundle) + b"\n")
