"""What a test of the wiring must leave as it found it."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from consilium import logs


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Put the process's logging back: a command configures it, and the suite watches it."""
    root = logging.getLogger()
    before, configuration = root.handlers[:], structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in ("", *logs.LIBRARIES, *logs.ROOMS)}
    yield
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.configure(**configuration)


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("CONSILIUM_"):
            monkeypatch.delenv(name)
