"""`consilium doctor`: what is wrong, in words, without a running server."""

import socket
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from clinical.errors import ClinicalError
from consilium import health, logs
from consilium.settings import Settings
from consilium.wiring import House
from model_runtime.engine import LocalEngine, Policy, State
from model_runtime.library import Library, single_onnxruntime

Finding = str | None


def examine(settings: Settings) -> dict[str, Finding]:
    """Return check -> problem, None where all is well. Loads every model once, so it takes a few seconds."""
    logs.configure("ERROR", role="doctor")
    house = House(settings)
    checks: dict[str, Callable[[], Finding]] = {
        "settings": lambda: _settings(settings),
        "database": health.database_check(house.db),
        "migrations": health.migrations_check(house.db),
        "blobs": lambda: _blobs(house),
        "onnxruntime": _onnxruntime,
        "models": lambda: _models(settings),
        "http port": lambda: _port(settings.http_host, settings.http_port, "CONSILIUM_HTTP_PORT"),
        "dicom port": lambda: _port(settings.dicom_host, settings.dicom_port, "CONSILIUM_DICOM_PORT"),
    }
    try:
        return {name: _outcome(check) for name, check in checks.items()}
    finally:
        house.db.dispose()


def _outcome(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except ClinicalError as error:
        return error.message
    except SQLAlchemyError as error:
        return f"{type(error).__name__}; see CONSILIUM_DATABASE_URL"


def _settings(settings: Settings) -> Finding:
    notes = []
    if not settings.pacs:
        notes.append("CONSILIUM_PACS is empty: results are not sent back")
    if not settings.patient_issuers:
        notes.append("CONSILIUM_PATIENT_ISSUERS is empty: results match no patient of a record system")
    return "; ".join(notes) or None


def _onnxruntime() -> Finding:
    # Raises, with the way to mend it, when there are two.
    return None if single_onnxruntime() else "none is installed; pip install 'consilium-cds[cpu]' or '[gpu]'"


def _models(settings: Settings) -> Finding:
    engine = LocalEngine(Library(settings.models), policy=Policy(settings.model_provider))
    states = [engine.warm(state.name) for state in engine.ready()]
    if not states:
        return f"no model in {settings.models}"
    return "; ".join(f"{one.name}: {one.problem}" for one in states if one.state is State.BROKEN) or None


def _port(host: str, port: int, variable: str) -> Finding:
    if port == 0:
        return None
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            return f"cannot listen on port {port} ({exc.strerror}); set {variable} or stop what uses it"
    return None


def _blobs(house: House) -> Finding:
    # Opening the store may fail, and that is a finding of this check and not the end of the others.
    return health.blob_space_check(house.blobs, house.low_water_bytes)()
