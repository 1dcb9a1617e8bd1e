"""`consilium doctor`: what is wrong, in words, without a running server."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from clinical.errors import ClinicalError
from consilium import health, logs
from consilium.processes import lives
from consilium.securing import listener_tls
from consilium.settings import Settings
from consilium.supervise import children_state
from consilium.wiring import House
from model_runtime.distribution import single_onnxruntime
from model_runtime.engine import LocalEngine, State
from model_runtime.library import Library
from model_runtime.signature import public_key


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. wrong: whether somebody must act; a note is worth knowing and not wrong."""

    text: str
    wrong: bool = True

    def as_text(self) -> str:
        """Return it as one value of a JSON object: all that is well begins with "ok"."""
        return self.text if self.wrong else f"ok, but {self.text}" if self.text else "ok"


OK = Finding("", wrong=False)


def examine(settings: Settings) -> dict[str, Finding]:
    """Return check -> finding. Loads every model once, so it takes a few seconds."""
    logs.configure("ERROR", role="doctor")
    house = House(settings)
    checks: dict[str, Callable[[], Finding]] = {
        "settings": lambda: _settings(settings),
        "database": lambda: _database(house),
        "migrations": lambda: _wrong(health.migrations_check(house.db)()),
        "blobs": lambda: _wrong(health.blob_space_check(house.blobs, house.low_water_bytes)()),
        "onnxruntime": _onnxruntime,
        "models": lambda: _models(house),
        "shadow models": lambda: _shadow_models(house),
        "http port": lambda: _port(settings, "web", settings.http_host, settings.http_port),
        "dicom port": lambda: (
            _port(settings, "dicom", settings.dicom_host, settings.dicom_port)
            if settings.takes_plain_dicom
            else OK
        ),
        "dicom tls": lambda: _tls(house),
        "hl7 port": lambda: _hl7(settings),
        "quarantine": lambda: _quarantine(house),
    }
    try:
        return {name: _outcome(check) for name, check in checks.items()}
    finally:
        house.db.dispose()


def _outcome(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except ClinicalError as error:
        return Finding(error.message)
    except SQLAlchemyError as error:
        return Finding(f"{type(error).__name__}; see CONSILIUM_DATABASE_URL")


def _wrong(problem: str | None) -> Finding:
    return OK if problem is None else Finding(problem)


def _database(house: House) -> Finding:
    health.database_check(house.db)()  # raises, and says what to set where a pooler has no transactions
    if house.db.pooled() is None:
        return OK
    return Finding("a pooler such as PgBouncer stands before it: no statement is prepared", wrong=False)


def _settings(settings: Settings) -> Finding:
    notes = []
    if not settings.pacs:
        notes.append("CONSILIUM_PACS is empty: results are not sent back")
    for one in settings.pacs:
        if one.commitment and settings.calling_aes and one.ae_title not in settings.calling_aes:
            notes.append(f"{one.name} may not answer about storage commitment: CONSILIUM_CALLING_AES lacks its AE")
    if not settings.patient_issuers:
        notes.append("CONSILIUM_PATIENT_ISSUERS is empty: results match no patient of a record system")
    return Finding("; ".join(notes), wrong=False)


def _tls(house: House) -> Finding:
    # Reads every certificate file, ours and those of the archives.
    secured = listener_tls(house.settings)
    if secured is None and not any(one.tls for one in house.destinations.values()):
        return Finding("DICOM is not encrypted", wrong=False)
    return OK


def _hl7(settings: Settings) -> Finding:
    if settings.hl7_port is None:
        return OK
    from consilium.hl7_role import listener_tls as hl7_tls  # noqa: PLC0415 - only who has the port pays for it

    hl7_tls(settings)  # raises when a certificate file cannot be used
    return _port(settings, "hl7", settings.hl7_host, settings.hl7_port)


def _quarantine(house: House) -> Finding:
    count, size = house.quarantine.totals()
    if not count:
        return OK
    said = f"{count} objects were refused as malformed and are kept ({size >> 20} MiB)"
    return Finding(f"{said}; 'consilium dicom quarantine list' says whose and why", wrong=False)


def _onnxruntime() -> Finding:
    # Raises, with the way to mend it, when there are two.
    found = single_onnxruntime()
    return OK if found else Finding("none is installed; pip install 'consilium-cds[cpu]' or '[gpu]'")


def _models(house: House) -> Finding:
    engine = LocalEngine(house.library, house.placement)
    states = [engine.warm(state.name) for state in engine.ready()]
    report = {one.name: one.problem if one.state is State.BROKEN else None for one in states}
    problem = health.models_check(lambda: report, house.settings.required_models)()
    makeshift = [one.name for one in states if one.degraded]
    if problem or not makeshift:
        return _wrong(problem)
    return Finding(f"CUDA does not start: {', '.join(makeshift)} would run on the CPU", wrong=False)


def _shadow_models(house: House) -> Finding:
    folder = house.settings.shadow_models
    if folder is None:
        return OK
    library = Library(folder, [public_key(key) for key in house.settings.model_keys], by_version=True)
    states = [LocalEngine(library, house.shadow_placement).warm(name) for name in library.names()]
    problems = [one.problem or f"model {one.name} is broken" for one in states if one.state is State.BROKEN]
    return _wrong("; ".join(problems) or None)


def _port(settings: Settings, role: str, host: str, port: int) -> Finding:
    if port == 0:
        return OK
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if _serves(settings, role):
                return Finding("in use; a server of this data folder is running", wrong=False)
            variable = f"CONSILIUM_{'HTTP' if role == 'web' else role.upper()}_PORT"
            return Finding(f"cannot listen on port {port} ({exc.strerror}); set {variable} or stop what uses it")
    return OK


def _serves(settings: Settings, role: str) -> bool:
    pid = (children_state(settings.data_dir) or {}).get(role, {}).get("pid")
    return isinstance(pid, int) and lives(pid)
