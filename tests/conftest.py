"""Rules that hold over the whole suite: no canary in a log, nothing skipped where it can run."""

import gc
import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from consilium.logs import quieten_libraries

CANARY = ("zzcanary", "quillon")
# In CI everything is installed, so a skip is a hole; only what the machine cannot have may be absent.
MAY_BE_ABSENT_IN_CI = ("no GPU on this machine",)


# `make unit` looks at fewer examples of each property than `make test`.
settings.register_profile("unit", max_examples=20, deadline=None)
settings.register_profile("whole", deadline=None)
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
    quieten_libraries()  # as every process of ours does
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    yield watch
    root.removeHandler(watch)


@pytest.fixture(autouse=True)
def _no_canary_in_logs(canary_watch: _CanaryWatch) -> Iterator[None]:
    before = len(canary_watch.sightings)
    yield
    found = canary_watch.sightings[before:]
    assert not found, f"the canary patient was logged at {found}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "postgresql" in callspec.params.values():
            item.add_marker("postgres")


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
