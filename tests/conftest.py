"""Rules that hold over the whole suite: no canary in a log, nothing skipped where it can run."""

import gc
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from consilium import logs

CANARY = ("zzcanary", "quillon")
# In CI everything is installed, so a skip is a hole; only what the machine cannot have may be absent.
MAY_BE_ABSENT_IN_CI = ("no GPU on this machine", "no right to mount a file system")

# Tests that share what takes long to make (a server, a trained model, a filled store) run in one process, one
# after another. By name and not by pytest-xdist's own mark: its 3.8 cannot group under pytest 9.2.
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
BY_FILE = (
    "tests/cds/test_conformance_can_fail.py",
    "tests/consilium/test_conformance.py",
    "tests/consilium/test_cds_record.py",
    "tests/dicom_node/abuse/",
    "tests/e2e/test_cds_clients.py",
    "tests/e2e/test_serve.py",
    "tests/e2e/test_cds_abuse.py",
    "tests/fhir_adapters/test_search_oracle.py",
    "tests/model_export/",
)

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


def pytest_xdist_auto_num_workers() -> int:
    """Two to a processor: the slow tests mostly wait for processes, sockets and the disk."""
    return 2 * (os.cpu_count() or 1)


class _Together(LoadScopeScheduling):
    """Gives out one test at a time, and as one what is to stay together."""

    def _split_scope(self, nodeid: str) -> str:
        group = next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), None)
        alone = nodeid.partition("::")[0] if nodeid.startswith(BY_FILE) else nodeid
        return group or alone


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together | None:
    return _Together(config, log) if config.getoption("dist") == "loadscope" else None


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


def pytest_collection_finish() -> None:
    # What was collected stays until the end: the garbage collector need not walk it again and again.
    gc.collect()
    gc.freeze()
