"""`consilium cds record` and `replay`: an incident kept without whom it is about, and played again offline."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from clinical.errors import IncorrectInput
from consilium.commands.cds_call import (
    DEFAULT_ISS,
    BearerFile,
    Iss,
    KeyFile,
    PublicUrl,
    Tenant,
    connect,
    read_json,
)

if TYPE_CHECKING:
    from cds.recording.replay import Ask

out = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
# What the site's own settings would add: other stores, doors, budgets, and a recording of the replay.
_ALONE: Mapping[str, object] = {
    "profile": "development",
    "database_url": None,
    "blob_url": None,
    "low_water_mb": 0,
    "hook_budget_ms": 60_000,
    "hook_budgets": {},
    "cds_issuers_file": None,
    "bearer_token": None,
    "fhir_servers": (),
    "record_calls_dir": None,
    "shadow_services": (),
    "alert_hygiene": None,
}
DataDir = Annotated[Path | None, typer.Option(help="Data folder of the server whose key disguises recordings.")]


def record(
    service: Annotated[str, typer.Argument(help="Service id.")],
    body: Annotated[Path, typer.Argument(help="JSON file: the body of a call, as the record system sent it.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the recording.")],
    url: Annotated[str | None, typer.Option("--url", help="Server to call; the local one without it.")] = None,
    key: KeyFile = None,
    iss: Iss = DEFAULT_ISS,
    tenant: Tenant = None,
    public_url: PublicUrl = None,
    bearer_file: BearerFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make a call from a file and keep it de-identified. A server records by CONSILIUM_RECORD_CALLS_DIR."""
    from cds.client.remote import services_of  # noqa: PLC0415
    from cds.recording.deidentify import disguise  # noqa: PLC0415
    from cds.recording.recorder import write  # noqa: PLC0415
    from cds.recording.tape import Heard, said, tape  # noqa: PLC0415

    call = read_json(body)
    patient = call.get("context", {}).get("patientId") if isinstance(call, dict) else None
    if not isinstance(patient, str):
        raise IncorrectInput("expected the body of a call with a context.patientId")
    with connect(url, key, iss, tenant, public_url, bearer_file) as server:
        entries = [one for one in services_of(server.discover()) if one.get("id") == service]
        answer = server.call(service, call)
    who = disguise(_key(data_dir), patient)
    keys = [name for one in entries for name in one.get("prefetch", {})]
    kept = said(answer.json(), who) if answer.status_code == 200 else {"status": _category(answer.status_code)}
    path = write(folder, tape(Heard(service, call), kept, keys, datetime.now(UTC), who))
    errors.print(f"kept in {path}", markup=False)


def replay(
    folder: Annotated[Path, typer.Argument(help="Folder with recordings.")],
    url: Annotated[
        str | None, typer.Option("--url", help="Server to ask; our own code offline without it.")
    ] = None,
    key: KeyFile = None,
    iss: Iss = DEFAULT_ISS,
    tenant: Tenant = None,
    public_url: PublicUrl = None,
    bearer_file: BearerFile = None,
    data_dir: DataDir = None,
) -> None:
    """Play recordings again and say what is answered differently: exit 1 when anything is."""
    from cds.recording.deidentify import disguise  # noqa: PLC0415
    from cds.recording.replay import recordings  # noqa: PLC0415
    from cds.recording.replay import replay as play  # noqa: PLC0415

    made = list(recordings(folder))
    who = disguise(_key(data_dir), "")  # summaries are compared by digest; the shift is in the recording
    with _offline() if url is None else _served(url, key, iss, tenant, public_url, bearer_file) as ask:
        played = [play(name, one, ask, who) for name, one in track(made, "playing", console=errors)]
    different = [one for one in played if one.changed]
    for one in different:
        out.print(f"{one.name} ({one.service}): {'; '.join(one.changed)}", markup=False)
    out.print(f"{len(played) - len(different)} of {len(played)} are answered as before", markup=False)
    raise typer.Exit(1 if different else 0)


@contextmanager
def _served(url: str, *how: Any) -> Iterator["Ask"]:  # noqa: ANN401 - the options of `connect`
    with connect(url, *how) as server:

        def ask(service_id: str, body: dict[str, Any], _at: datetime) -> tuple[int, dict[str, Any]]:
            answer = server.call(service_id, body)
            return answer.status_code, answer.json() if answer.status_code == 200 else {}

        yield ask


@contextmanager
def _offline() -> Iterator["Ask"]:
    """Ask our own application in this process, on an empty database, at the time of each recording."""
    from consilium.app import create_app  # noqa: PLC0415
    from consilium.settings import load_settings  # noqa: PLC0415
    from consilium.web_parts import build_parts  # noqa: PLC0415
    from consilium.wiring import House, prepare_storage  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as empty:
        settings = load_settings().model_copy(update={**_ALONE, "data_dir": Path(empty)})
        prepare_storage(settings)
        moment = [datetime.now(UTC)]
        house = House(settings, lambda: moment[0])
        client = create_app(build_parts(house)).test_client()

        def ask(service_id: str, body: dict[str, Any], at: datetime) -> tuple[int, dict[str, Any]]:
            moment[0] = at
            answer = client.post(f"/cds-services/{service_id}", json=body)
            return answer.status_code, answer.get_json() if answer.status_code == 200 else {}

        try:
            yield ask
        finally:
            house.db.dispose()


def _key(data_dir: Path | None) -> bytes:
    from consilium.keys import RECORDING_KEY, derived_key, master_key  # noqa: PLC0415
    from consilium.settings import load_settings  # noqa: PLC0415

    return derived_key(master_key(load_settings(data_dir=data_dir)), RECORDING_KEY)


def _category(status: int) -> str:
    from cds.recording.replay import STATUS  # noqa: PLC0415

    return STATUS.get(status, "fault")
