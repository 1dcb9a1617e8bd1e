"""pydicom as every user of this room needs it, from the moment that anybody imports it.

Its validation warnings quote what they look at: names, numbers and UIDs of patients. They are silenced here, once;
our own checks say what is wrong. A process that only stores objects never imports pydicom (60 MB, with numpy), so
this waits for whoever does.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_CONFIG = "pydicom.config"


def quieten_pydicom() -> None:
    """Have pydicom silent, now or as soon as it is imported."""
    if _CONFIG in sys.modules:
        _quieten(sys.modules[_CONFIG])
    else:
        sys.meta_path.insert(0, _AtImport())


class _AtImport(MetaPathFinder):
    """Finds nothing itself, but stands by when pydicom's configuration is found, once."""

    def find_spec(self, fullname: str, *_: object, **__: object) -> ModuleSpec | None:
        """Return the others' spec of pydicom's configuration, with our word at its end."""
        if fullname != _CONFIG:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_quieten(module: ModuleType) -> None:
            run(module)
            _quieten(module)

        spec.loader.exec_module = run_and_quieten  # type: ignore[method-assign]
        return spec


def _quieten(config: ModuleType) -> None:
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
