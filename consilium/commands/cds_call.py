"""`consilium cds call`: one call of a service, as a record system makes it."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clinical.errors import IncorrectInput

if TYPE_CHECKING:
    from cds.client.record import Record
    from cds.client.remote import Remote
    from cds.prefetch import FhirReader

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Url = Annotated[
    str | None, typer.Option("--url", help="Base URL, before /cds-services; the local server without it.")
]
KeyFile = Annotated[Path | None, typer.Option("--key", help="Private JWK that signs tokens (consilium cds keys).")]
Iss = Annotated[str, typer.Option("--iss", help="Issuer that the tokens name.")]
Tenant = Annotated[str | None, typer.Option(help="Tenant that the tokens name.")]
PublicUrl = Annotated[str | None, typer.Option(help="Base URL for `aud`, when the server is known by another.")]
BearerFile = Annotated[Path | None, typer.Option(help="File with a fixed bearer token, shown instead of a JWT.")]
DEFAULT_ISS = "https://client.example"
FHIR_NAME = "https://record.example/fhir"  # what a Bundle's server is called to ourselves; never contacted


def call(
    service: Annotated[str | None, typer.Argument(help="Service id; without it the services are listed.")] = None,
    url: Url = None,
    hook: Annotated[str | None, typer.Option(help="Which hook, when the service has several.")] = None,
    patient: Annotated[str | None, typer.Option(help="FHIR id; the Bundle's Patient without it.")] = None,
    user: Annotated[str, typer.Option(help="context.userId.")] = "Practitioner/example",
    context: Annotated[str | None, typer.Option(help="More of the context: JSON, or @file.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="FHIR Bundle that fills the prefetch.")] = None,
    example: Annotated[
        bool,
        typer.Option("--example", help="An invented patient fills the prefetch, and the context of the hook."),
    ] = False,
    fhir: Annotated[
        str | None, typer.Option(help="FHIR server that fills the prefetch, sent as fhirServer.")
    ] = None,
    fhir_token_file: Annotated[Path | None, typer.Option(help="File with the token for that server.")] = None,
    prefetch: Annotated[bool, typer.Option(help="Fill the prefetch, or leave all of it to the service.")] = True,
    key: KeyFile = None,
    iss: Iss = DEFAULT_ISS,
    tenant: Tenant = None,
    public_url: PublicUrl = None,
    token: Annotated[str | None, typer.Option(help="Break the token: a flaw's name, `list` shows them.")] = None,
    bearer_file: BearerFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as it came, and nothing else.")] = False,
) -> None:
    """Call a service and show its cards: prefetch from a FHIR server or a file, tokens good or broken."""
    from cds.client.remote import request_body, services_of  # noqa: PLC0415

    if token == "list":  # noqa: S105 - a word of the command line
        _list_flaws()
        return
    with connect(url, key, iss, tenant, public_url, bearer_file) as server:
        if token is not None and server.client is None:
            raise IncorrectInput("a broken token needs a key to be signed with: --key")
        services = services_of(server.discover())
        if service is None:
            _list_services(services)
            return
        entry = _entry(services, service, hook)
        record = _record(bundle, example=example)
        values = _context(entry["hook"], patient or _patient_of(record), user, example=example)
        values |= _json_or_file(context)
        authorization = None if fhir is None else _authorization(fhir_token_file)
        body = request_body(entry["hook"], values, fhirServer=fhir, fhirAuthorization=authorization)
        with _reader(record, fhir) as source:
            if prefetch and source is not None:
                body["prefetch"] = _fill(entry, body, source, fhir)
        _send(server, service, body, token, as_json=as_json)


@contextmanager
def connect(
    url: str | None, key: Path | None, iss: str, tenant: str | None, public_url: str | None, bearer: Path | None
) -> Iterator["Remote"]:
    """Give the server that the options name, with who signs."""
    from cds.client.keys import load_private  # noqa: PLC0415
    from cds.client.remote import remote  # noqa: PLC0415
    from cds.client.tokens import Client  # noqa: PLC0415
    from clinical.clock import utc_now  # noqa: PLC0415

    client = None if key is None else Client(iss, load_private(key), utc_now, tenant)
    base = url or f"http://127.0.0.1:{os.environ.get('CONSILIUM_HTTP_PORT', '8080')}"
    with remote(base, client, public_url) as server:
        if bearer is not None:
            server.http.headers["Authorization"] = f"Bearer {_text(bearer).strip()}"
        yield server


def _send(server: "Remote", service: str, body: dict[str, Any], flaw: str | None, *, as_json: bool) -> None:
    from cds.client.tokens import REPLAYED  # noqa: PLC0415
    from consilium.commands.cards import show  # noqa: PLC0415

    path = f"/cds-services/{service}"
    token = server.token(path, flaw)
    if flaw == REPLAYED:  # the first use is good; what counts is how the second is answered
        server.send("POST", path, body=body, token=token)
    began = time.perf_counter()
    answer = server.send("POST", path, body=body, token=token)
    took_ms = (time.perf_counter() - began) * 1000
    try:
        said = answer.json()
    except ValueError:
        said = None
    if as_json:
        typer.echo(json.dumps(said))
    else:
        show(out, answer.status_code, said, took_ms)
    raise typer.Exit(0 if answer.status_code == 200 else 1)


def _entry(services: list[dict[str, Any]], service: str, hook: str | None) -> dict[str, Any]:
    found = [one for one in services if one.get("id") == service and hook in (None, one.get("hook"))]
    if not found:
        known = ", ".join(sorted({str(one.get("id")) for one in services}))
        raise IncorrectInput(f"no such service and hook there; it has {known or 'none'}")
    return found[0]


def _context(hook: str, patient: str, user: str, *, example: bool) -> dict[str, Any]:
    from cds.client.contexts import example_context  # noqa: PLC0415

    found = example_context(hook, patient, user) if example else None
    return found or {"userId": user, "patientId": patient}


def _record(bundle: Path | None, *, example: bool) -> "Record | None":
    from cds.client.record import record_of  # noqa: PLC0415
    from cds.conformance.record import invented_record  # noqa: PLC0415
    from clinical.clock import utc_now  # noqa: PLC0415

    if bundle is not None:
        return record_of(read_json(bundle))
    return invented_record(utc_now()) if example else None


@contextmanager
def _reader(record: "Record | None", fhir: str | None) -> Iterator["FhirReader | None"]:
    from cds.client.record import RecordReader  # noqa: PLC0415
    from consilium.settings import is_loopback  # noqa: PLC0415
    from fhir_adapters.allow_list import AllowedServer, Network, parse_url  # noqa: PLC0415
    from fhir_adapters.client import FhirClient  # noqa: PLC0415

    if record is not None or fhir is None:
        yield None if record is None else RecordReader(record)
        return
    address = parse_url(fhir)
    near = address is not None and is_loopback(address.host)
    client = FhirClient([AllowedServer(fhir, Network.LOOPBACK if near else Network.PRIVATE)])
    try:
        yield client
    finally:
        client.close()


def _fill(
    entry: Mapping[str, Any], body: dict[str, Any], source: "FhirReader", fhir: str | None
) -> dict[str, Any]:
    from cds.client.remote import filled  # noqa: PLC0415

    found = filled(entry, body, source, fhir or FHIR_NAME)
    missing = sorted(set(entry.get("prefetch", {})) - set(found))
    if missing:
        errors.print(f"not found, so not sent: {', '.join(missing)}", markup=False, style="dim")
    return found


def _patient_of(record: "Record | None") -> str:
    if record is None:
        raise IncorrectInput("expected --patient, or --bundle with one Patient, or --example")
    return record.patient_id()


def _authorization(token_file: Path | None) -> dict[str, Any] | None:
    if token_file is None:
        return None
    scope, subject = "patient/*.rs", "consilium-cds-call"
    granted = {"token_type": "Bearer", "expires_in": 300, "scope": scope, "subject": subject}
    return granted | {"access_token": _text(token_file).strip()}


def _json_or_file(given: str | None) -> dict[str, Any]:
    if given is None:
        return {}
    value = _json(_text(Path(given[1:])) if given.startswith("@") else given, "--context")
    if not isinstance(value, dict):
        raise IncorrectInput("--context: expected a JSON object")
    return value


def _json(text: str, what: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except ValueError:
        raise IncorrectInput(f"{what}: expected JSON") from None


def read_json(file: Path) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON in a file. Raises IncorrectInput."""
    return _json(_text(file), str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise IncorrectInput(f"{file}: expected a readable text file") from None


def _list_services(services: list[dict[str, Any]]) -> None:
    from cds.markdown import plain  # noqa: PLC0415

    table = Table("service", "hook", "title", "prefetch keys")
    for one in services:
        cells = (one.get("id"), one.get("hook"), one.get("title", ""), ", ".join(one.get("prefetch", {})))
        table.add_row(*(Text(plain(str(cell))) for cell in cells))
    out.print(table)


def _list_flaws() -> None:
    from cds.client.tokens import FLAWS, REPLAYED  # noqa: PLC0415

    for name in (REPLAYED, *FLAWS):
        typer.echo(name)
