"""How a process of the server starts: from its settings to its role, without the command line.

The command line and what it draws with are 10 MB and 0.1 s that a server has no use for.
"""

import gc
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from clinical.errors import ClinicalError
from consilium.settings import Settings, SettingsError, load_settings

UNUSABLE_SETTINGS = 78  # EX_CONFIG of sysexits.h
# The options of a role, and of all under one parent, by the setting that each gives; a test holds them equal to
# the command line's.
OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "serve": {"--data-dir": "data_dir", "--http-port": "http_port", "--dicom-port": "dicom_port"},
        "web": {"--data-dir": "data_dir", "--http-port": "http_port"},
        "dicom": {"--data-dir": "data_dir", "--dicom-port": "dicom_port"},
        "worker": {"--data-dir": "data_dir"},
        "hl7": {"--data-dir": "data_dir", "--hl7-port": "hl7_port"},
    }
)


def usable_settings(**overrides: object) -> Settings:
    """Return the settings, with a data folder that is there. Raises SettingsError."""
    settings = load_settings(**overrides)
    folder = settings.data_dir
    try:
        # Its database names patients: what is made anew is for the account of the server alone.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = None if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written"
    except OSError as exc:
        problem = str(exc.strerror)
    if problem:
        raise SettingsError([f"CONSILIUM_DATA_DIR: expected a folder that can be made and written ({problem})"])
    return settings


def plain_role(arguments: Sequence[str]) -> tuple[str, dict[str, object]] | None:
    """Return the role that these arguments name and its overrides; None when the command line has to read them."""
    role, *rest = arguments or [""]
    known = OPTIONS.get(role)
    if known is None or len(rest) % 2:
        return None
    overrides: dict[str, object] = {}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        setting = known.get(option)
        if setting is None or value.startswith("-"):
            return None
        if setting == "data_dir":
            overrides[setting] = Path(value)
        elif re.fullmatch("[0-9]{1,5}", value):
            overrides[setting] = int(value)
        else:
            return None
    return role, overrides


def run_plainly(role: str, overrides: Mapping[str, object]) -> int:
    """Run a role until it ends and return its exit code; what an operator can mend is said in lines on stderr."""
    try:
        settings = usable_settings(**overrides)
    except SettingsError as exc:
        sys.stderr.write("\n".join(["The settings are not usable:", *(f"  {line}" for line in exc.lines), ""]))
        return UNUSABLE_SETTINGS
    try:
        if role == "serve":
            from consilium.supervise import serve  # noqa: PLC0415

            return serve(settings)
        import_alone("structlog", "rich")  # to draw tracebacks: 4 MB, and a server writes JSON
        from consilium import roles  # noqa: PLC0415 - after the settings are known to be usable

        return roles.ROLES[role](settings)
    except ClinicalError as exc:
        sys.stderr.write(f"consilium: {exc.message}\n")
        return 1


def collect_from_now_on() -> None:
    """Look for garbage, not done since this process began, among what is made from now on."""
    gc.freeze()
    gc.enable()


def import_alone(name: str, *without: str) -> None:
    """Import a package without others that it would load and that this process has no use for."""
    absent = [one for one in without if one not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # how Python says that there is no such module
    try:
        importlib.import_module(name)
    finally:
        for one in absent:
            del sys.modules[one]
