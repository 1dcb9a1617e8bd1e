"""The processes: what each opens, and how each ends."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from clinical.errors import Busy, Fault, IncorrectInput, PreconditionMissing
from consilium import logs
from consilium.metric_files import fold_metrics
from consilium.migrating import migrate_apart
from consilium.settings import Settings
from consilium.starting import collect_from_now_on, import_alone
from consilium.supervise import end_with_parent, folder_lock, is_orphan, report_ready
from consilium.wiring import STALE_PART_S, House
from model_runtime.distribution import single_onnxruntime
from record_store.database import Database
from record_store.intents import sweep
from record_store.migrate import is_current

if TYPE_CHECKING:
    import subprocess

    from dicom_node.scp import StorageScp
    from dicom_node.tls import TlsContexts

FORKS_FD = "CONSILIUM_FORKS_FD"  # for whoever is to fork receivers: its end of a channel
STOP_WITHIN_S = 7.5  # the parent waits for 8 s
# Of what pydicom imports: codecs are for the decoder, a process of its own, and its test data for nobody (0.1 s).
_NO_USE = ("gdcm", "requests")
log = structlog.get_logger()


def _prepare(settings: Settings, role: str, bring_up: Callable[[Database, Path], None] = migrate_apart) -> House:
    if "CONSILIUM_STATUS_FD" in os.environ:
        end_with_parent()
        if is_orphan(os.environ):  # nobody tells of a death of before
            raise Busy("the `consilium serve` that started this process has ended")
    logs.configure(settings.log_level, role=role, for_good=True)
    _metrics_folder(settings.data_dir)
    single_onnxruntime()
    house = House(settings)
    bring_up(house.db, settings.data_dir / "run")
    # A process that is forked with an open SQLite connection believes that it has its locks (docs/decisions/062).
    house.db.dispose()
    return house


def _metrics_folder(data_dir: Path) -> None:
    # Read by prometheus_client when it is imported, which happens after this.
    folder = data_dir.resolve() / "run" / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(folder))
    fold_metrics()


def run_web(settings: Settings) -> int:
    """Serve HTTP with gunicorn until SIGTERM."""
    house = _prepare(settings, "web")
    # Before there are threads: of a package that imports itself in circles, two that begin with different modules
    # of it each get a half ("partially initialized module"), and a request is answered with 500.
    import_alone("pydicom", *_NO_USE)
    from consilium.web import WebServer  # noqa: PLC0415

    collect_from_now_on()
    WebServer(house, os.environ).run()
    return 0


def run_dicom(settings: Settings) -> int:
    """Receive images until SIGTERM; or be who forks those that receive, for the process that does."""
    if forks := os.environ.get(FORKS_FD):
        return _run_zygote(settings, int(forks))
    parent = os.getppid()
    house = _prepare(settings, "dicom")
    from consilium.securing import listener_tls  # noqa: PLC0415

    _more_descriptors()
    _sweep(house)
    try:
        tls = listener_tls(settings)
    except IncorrectInput as error:
        log.error("the DICOM port cannot be secured", problem=error.message)  # noqa: TRY400
        return 1
    scp = _node(house, tls)
    begin = partial(_begin_zygote, settings)
    receivers = scp.fork(settings.dicom_receivers, begin) if settings.dicom_receivers else None
    try:
        port = scp.start(receivers)
    except OSError as exc:
        log.error("cannot listen", port=settings.dicom_port, problem=exc.strerror)  # noqa: TRY400
        return 1
    _ready_until_told_to_stop(parent, port=port)
    scp.stop()
    house.trail.close()
    house.db.dispose()
    return 0


def _node(house: House, tls: "TlsContexts | None") -> "StorageScp":
    from consilium import metrics  # noqa: PLC0415
    from consilium.dicom_metrics import DicomMetrics  # noqa: PLC0415
    from consilium.node_services import node_offers, scp_settings  # noqa: PLC0415
    from consilium.witnessing import Witness  # noqa: PLC0415
    from dicom_node.scp import StorageScp  # noqa: PLC0415

    def delivered(destination: str, state: str) -> None:
        metrics.DELIVERIES.labels(destination, state).inc()

    scp = StorageScp(
        scp_settings(house),
        db=house.db,
        blobs=house.blobs,
        issuers=house.issuers,
        now=house.now,
        observe=DicomMetrics(house.settings.calling_aes, fold_metrics),
        tls=tls,
        note=house.trail.note,
        restore=house.homecoming,
        services=node_offers(house, delivered),
        ended=Witness(house.db, house.now).ended,
        set_aside=house.quarantine.keep,
    )
    collect_from_now_on()
    return scp


def _begin_zygote(settings: Settings, descriptor: int) -> "subprocess.Popen[bytes]":
    """Start an interpreter that comes to where this process forked its receivers (docs/decisions/062)."""
    import subprocess  # noqa: PLC0415 - once in the life of a server, if ever

    kept = {name: value for name, value in os.environ.items() if name != "CONSILIUM_STATUS_FD"}
    return subprocess.Popen(
        [sys.executable, "-m", "consilium", "dicom"],
        env=kept | {"CONSILIUM_DATA_DIR": str(settings.data_dir), FORKS_FD: str(descriptor)},
        pass_fds=(descriptor, *folder_lock(os.environ)),
        stdin=subprocess.DEVNULL,
    )


def _run_zygote(settings: Settings, descriptor: int) -> int:
    from dicom_node.zygote import leave_signals_alone  # noqa: PLC0415

    leave_signals_alone()
    _node(_prepare(settings, "dicom", _stay_at_version), None).fork_for(descriptor)
    return 0


def _stay_at_version(db: Database, _folder: Path) -> None:
    """Refuse another version's database: the server that this process is for is of the one that was started."""
    if not is_current(db):
        raise PreconditionMissing("the database is another version's than the code that is installed: start anew")


def _more_descriptors() -> None:
    """Take as many file descriptors as we may have: silent connections cost one each, and nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _sweep(house: House) -> None:
    """Remove what killed processes have left: parts, and objects whose rows never came."""
    house.blobs.sweep(STALE_PART_S)
    try:
        orphans = sweep(house.db, house.blobs.staging, house.blobs.remove)
    except (Busy, Fault) as error:
        log.warning("orphans not swept", why=error.message)
        return
    if orphans:
        log.info("orphans swept", count=orphans)


def run_worker(settings: Settings) -> int:
    """Read studies until SIGTERM."""
    parent = os.getppid()
    house = _prepare(settings, "worker")
    from consilium.worker_name import WorkerName  # noqa: PLC0415

    name = WorkerName(settings.data_dir, settings.executor_id)
    name.await_silence(house.db, settings.executor_silence_s)
    import_alone("pydicom", *_NO_USE)
    from consilium.worker_role import build_worker  # noqa: PLC0415

    running = build_worker(house, name.beaten)
    environ = dict(os.environ)
    running.start(lambda problem: report_ready(environ, problem=problem))
    collect_from_now_on()
    _ready_until_told_to_stop(parent)
    _end_within(STOP_WITHIN_S)
    running.stop()
    house.db.dispose()
    name.close()
    return 0


def _end_within(seconds: float) -> None:
    """End this process by then, whatever is still running: a job survives that, the operator's patience not.

    Without it Python would wait at its exit for the job engine's threads, and so for a job's longest pause.
    """

    def end() -> None:
        log.warning("stopped with work in hand; it goes on at the next start")
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _ready_until_told_to_stop(parent: int, **facts: object) -> None:
    """Tell the parent that this process serves, and return when it is told to stop, or an orphan."""
    stop = threading.Event()
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # before anybody knows that we are ready: he may tell us at once
        signal.signal(number, lambda *_: stop.set())
    report_ready(dict(os.environ), **facts)
    # Waking now and then lets Python run a handler whose signal another thread was given, and sees a parent that
    # was killed even when its death was not told (end_with_parent): seen once in a run of the suite.
    while not stop.wait(1.0):
        if "CONSILIUM_STATUS_FD" in os.environ and os.getppid() != parent:
            return


def run_hl7(settings: Settings) -> int:
    """Take HL7 v2 messages until SIGTERM."""
    parent = os.getppid()
    house = _prepare(settings, "hl7")
    from consilium.hl7_role import build_listener  # noqa: PLC0415

    _more_descriptors()
    try:
        listener = build_listener(house)
        port = listener.start(settings.hl7_host, settings.hl7_port or 0)
        collect_from_now_on()
    except IncorrectInput as error:
        log.error("the HL7 v2 port cannot be secured", problem=error.message)  # noqa: TRY400
        return 1
    except OSError as exc:
        log.error("cannot listen", port=settings.hl7_port, problem=exc.strerror)  # noqa: TRY400
        return 1
    _ready_until_told_to_stop(parent, port=port)
    listener.stop()
    house.db.dispose()
    return 0


ROLES: Mapping[str, Callable[[Settings], int]] = {
    "web": run_web,
    "dicom": run_dicom,
    "worker": run_worker,
    "hl7": run_hl7,
}
