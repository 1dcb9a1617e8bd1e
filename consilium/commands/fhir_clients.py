"""`consilium fhir clients`: who may have tokens for the FHIR API, and why somebody got none."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from clinical.errors import IncorrectInput, PreconditionMissing

if TYPE_CHECKING:
    from consilium.wiring import House
    from fhir_adapters.access.clients import Clients

app = typer.Typer(no_args_is_help=True, help="Clients of the FHIR API: what they may do, why one is refused.")

DataDir = Annotated[Path | None, typer.Option(help="Folder for the database and the images (CONSILIUM_DATA_DIR).")]


@app.callback()
def clients() -> None:
    """Clients of the FHIR API: what they may do, why one is refused."""


@app.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A clients file; without it CONSILIUM_FHIR_CLIENTS_FILE.")
    ] = None,
    fetch_keys: Annotated[bool, typer.Option("--fetch-keys", help="Fetch the published keys too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Read the clients file and say what each client may do; exit code 1 when it cannot be used."""
    from fhir_adapters.access.clients import read  # noqa: PLC0415 - nothing heavy before it is asked for
    from fhir_adapters.access.doctor import described, key_problem  # noqa: PLC0415
    from fhir_adapters.trust.toml_file import FileWrong  # noqa: PLC0415

    console = _console()
    try:
        found = read(file) if file is not None else _configured(data_dir)[1]
    except FileWrong as wrong:
        for line in wrong.lines:
            console.print(f"no  {line}")
        raise typer.Exit(1) from None
    failed = False
    for client in found.every:
        problem = key_problem(client) if fetch_keys else None
        failed |= problem is not None
        console.print(f"{'no' if problem else 'ok'}  {client.name}")
        for line in (*described(client), *([f"keys: {problem}"] if problem else [])):
            console.print(f"      {line}")
    raise typer.Exit(1 if failed else 0)


@app.command("doctor")
def doctor(
    assertion: Annotated[
        Path | None,
        typer.Argument(help="File with one client assertion, - for standard input; it is not used up."),
    ] = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="Without an assertion: so many refusals.")] = 10,
    fetch_keys: Annotated[bool, typer.Option("--fetch-keys", help="Fetch the client's published keys.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Say why clients were refused, or what is wrong with an assertion, and what to do."""
    from clinical.clock import utc_now  # noqa: PLC0415
    from fhir_adapters.access.doctor import examine, last_refusals  # noqa: PLC0415

    console = _console()
    if assertion is None:
        past = last_refusals(_store(data_dir).db, last)
        for line in past or ["Nobody has been refused."]:
            console.print(line)
        return
    house, found = _configured(data_dir)
    lines, good = examine(_read(assertion), found, house.base_url, utc_now(), fetch_keys=fetch_keys)
    for line in lines:
        console.print("".join(letter if letter.isprintable() else "?" for letter in line)[:400])
    raise typer.Exit(0 if good else 1)


@app.command("token")
def token(
    client: Annotated[str, typer.Argument(help="The client's short name.")],
    scope: Annotated[str, typer.Option(help="The scopes, with blanks between them.")],
    patient: Annotated[str | None, typer.Option(help="Id of the Patient, for patient/ scopes.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make an access token of a client for a trial, as if it had asked for it: it stands in the audit as well."""
    from clinical.clock import utc_now  # noqa: PLC0415
    from consilium.fhir_parts import clients_of, endpoint_of  # noqa: PLC0415
    from fhir_adapters.access.assertion import ClientRefused  # noqa: PLC0415
    from fhir_adapters.access.token_endpoint import issue  # noqa: PLC0415
    from record_store.revoked_tokens import RevokedTokens  # noqa: PLC0415

    house = _store(data_dir)
    known = clients_of(house)
    found = None if known is None else known.named(client)
    endpoint = endpoint_of(house, known, RevokedTokens(house.db, house.now))
    if found is None or endpoint is None:
        raise PreconditionMissing("the clients file has no client of that name")
    form = {"scope": scope} | ({"patient": patient} if patient else {})
    try:
        sys.stdout.write(issue(endpoint, found, form, utc_now())["access_token"] + "\n")
    except ClientRefused as refused:
        raise IncorrectInput(f"no token: {refused.reason.value}, see docs/access.md") from None
    finally:
        house.db.dispose()


def _console() -> Console:
    # Wide, so that addresses stay whole for copying; the words of an assertion are its sender's and no markup.
    return Console(highlight=False, markup=False, soft_wrap=True)


def _configured(data_dir: Path | None) -> "tuple[House, Clients]":
    from consilium.cli import settings_of  # noqa: PLC0415
    from consilium.fhir_parts import clients_of  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    house = House(settings_of(data_dir=data_dir))
    found = clients_of(house)
    if found is None:
        raise PreconditionMissing("CONSILIUM_FHIR_CLIENTS_FILE names no clients file: nobody can have a token")
    return house, found


def _store(data_dir: Path | None) -> "House":
    from consilium.cli import settings_of_a_store  # noqa: PLC0415
    from consilium.wiring import House  # noqa: PLC0415

    return House(settings_of_a_store(data_dir))


def _read(file: Path) -> str:
    try:
        return (sys.stdin.read(65_536) if str(file) == "-" else file.read_text(encoding="utf-8")[:65_536]).strip()
    except (OSError, UnicodeDecodeError):
        raise IncorrectInput("the assertion's file cannot be read") from None
