"""Rules that hold over the whole suite: no canary in a log, nothing skipped where it can run.

And the databases: `db` runs a test on SQLite and on PostgreSQL.
"""

import gc
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from consilium import logs
from record_store import testing
from record_store.database import Database, open_database

CANARY = ("zzcanary", "quillon")
# In CI everything is installed, so a skip is a hole; only what the machine cannot have may be absent.
MAY_BE_ABSENT_IN_CI = ("no GPU on this machine", "no right to mount a file system")

# The tests of a file run in one process, one after another: they share what takes long to make (a server, a
# trained model, a filled store, a decoder), and each that is given out alone costs 3 ms. By name and not by
# pytest-xdist's own mark: its 3.8 cannot group under pytest 9.2.
TOGETHER = {
    "tests/e2e/test_demo.py::test_real_": "house",
    "tests/e2e/test_breast.py": "house",
    "tests/e2e/test_dicomweb.py": "house",
    "tests/e2e/test_flows.py": "house",
    "tests/e2e/test_pages.py": "house",
    # TensorFlow takes seconds to import.
    "tests/model_export/test_breast_networks.py": "networks of images",
    "tests/model_export/test_lung_nodule.py": "networks of images",
    "tests/model_export/test_efficientnet_lite.py": "networks",
    "tests/model_export/test_heart_rate_recipe.py": "networks",
    "tests/model_export/test_keras_network.py": "networks",
}
# What takes long and shares nothing.
ALONE = (
    "tests/dicom_node/receive/test_durability.py",
    "tests/e2e/test_crash.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_feedback_crash.py",
    "tests/e2e/test_hook_time.py",
    "tests/e2e/test_trust.py",
    "tests/record_store/test_jobs.py",
)

IMPORTED = pytest.StashKey[frozenset[str]]()

# `make unit` looks at fewer examples of each property than `make test`.
settings.register_profile("unit", max_examples=10, deadline=None)
settings.register_profile("whole", deadline=None)
settings.register_profile("fuzz", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "whole"))


class _CanaryWatch(logging.Handler):
    """Looks for the canary patient in every record of every logger at DEBUG."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.sightings: list[str] = []
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        # Fields that structlog was given stand in the record's dictionary.
        text = f"{record.getMessage()} {record.__dict__}"
        if any(word in text.lower() for word in CANARY):
            self.sightings.append(f"{record.name}:{record.lineno}")


@pytest.fixture(scope="session")
def canary_watch() -> Iterator[_CanaryWatch]:
    watch = _CanaryWatch()
    root = logging.getLogger()
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    logs.quieten_libraries()  # as every process of ours does
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    yield watch
    root.removeHandler(watch)


@pytest.fixture
def kept_logging(canary_watch: _CanaryWatch) -> Iterator[None]:
    """Put the process's logging back: a command configures it, and the suite watches it."""
    root = logging.getLogger()
    before, configuration = root.handlers[:], structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in ("", *logs.LIBRARIES, *logs.ROOMS)}
    yield
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(**configuration)


@pytest.fixture(autouse=True)
def _no_canary_in_logs(canary_watch: _CanaryWatch, kept_logging: None) -> Iterator[None]:
    before = len(canary_watch.sightings)
    yield
    found = canary_watch.sightings[before:]
    assert not found, f"the canary patient was logged at {found}"


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Find what a file's tests left open while it is known whose it is, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """Yield the URL of a migrated database to copy: that takes 0.07 s, and migrating one a second."""
    if reason := testing.postgres_absent():
        pytest.skip(reason)
    with testing.migrated_postgres() as db:
        db.dispose()  # nobody may be connected to what is copied
        yield db.url


@pytest.fixture(scope="session")
def migrated_postgres(postgres_template: str) -> Iterator[Database]:
    """Yield the one PostgreSQL database of this process; skip where there is none."""
    with testing.postgres_url(postgres_template) as url:
        db = open_database(url)
        yield db
        db.dispose()


@pytest.fixture
def postgres_db(migrated_postgres: Database) -> Database:
    testing.empty_all_tables(migrated_postgres)
    return migrated_postgres


@pytest.fixture
def sqlite_db(tmp_path: Path) -> Iterator[Database]:
    db = testing.database(tmp_path)
    yield db
    db.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> Database:
    """Return an empty database with every table."""
    made: Database = request.getfixturevalue("sqlite_db" if request.param == "sqlite" else "postgres_db")
    return made


def pytest_xdist_auto_num_workers() -> int:
    """Two to a processor: the slow tests mostly wait for processes, sockets and the disk."""
    return 2 * (os.cpu_count() or 1)


class _Together(LoadScopeScheduling):
    """Gives out the tests of a file, of several files, or one test."""

    def _split_scope(self, nodeid: str) -> str:
        group = next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), None)
        return group or (nodeid if nodeid.startswith(ALONE) else nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together | None:
    config.option.loadscopereorder = False  # the order of `pytest_collection_modifyitems` counts
    return _Together(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Import a share of the test files first: on a clean clone each worker would compile all of them, 14 s."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args != ["tests"]:
        return
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    for file in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        name = ".".join(file.relative_to(session.config.rootpath).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # it is imported again where it is told
            importlib.import_module(name)


def pytest_itemcollected(item: pytest.Item) -> None:
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "postgresql" in callspec.params.values():
        item.add_marker("postgres")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # What takes long goes first, so that the quick ones fill the end. Alone, modules stay together.
        items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.path.parent.name != "e2e"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in MAY_BE_ABSENT_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, where nothing that can run may skip: {reason}"
    return report


def pytest_configure() -> None:
    # What is collected stays until the end: the garbage collector need not walk it again and again.
    gc.disable()


@pytest.fixture(scope="session")
def imported_to_collect(pytestconfig: pytest.Config) -> frozenset[str]:
    """Return the modules that were there before the first test ran."""
    return pytestconfig.stash[IMPORTED]


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[IMPORTED] = frozenset(sys.modules)
    gc.enable()
    gc.collect()
    gc.freeze()
