"""Modules that are imported when a test asks for something of them.

Every process of the suite collects every test; TensorFlow takes three seconds of each that imports it.
"""

import importlib
import importlib.util
from typing import Any

import pytest

NEEDS_TENSORFLOW = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs the training stack"
)


class Lazily:
    """Stands for a module by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        # pytest asks all in a module whether it is a fixture, or a stand-in of unittest.mock.
        if attribute.startswith(("__", "_pytest", "_mock")):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
