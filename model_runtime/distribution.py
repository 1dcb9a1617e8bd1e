"""Which onnxruntime is installed: told without importing it, or anything else that takes time at a start."""

import importlib.metadata
from collections.abc import Iterable

from clinical.errors import Fault

ONNXRUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)


def single_onnxruntime(installed: Iterable[str] | None = None) -> str | None:
    """Return the one installed onnxruntime distribution, None when there is none.

    installed: distribution names; read from the environment when None.

    Raises Fault when there are two: they own the same package directory, one silently shadows the
    other, and removing either breaks both.
    """
    names = _installed() if installed is None else installed
    found = sorted({name.lower().replace("_", "-") for name in names} & set(ONNXRUNTIMES))
    if len(found) > 1:
        raise Fault(
            f"two onnxruntime distributions are installed ({', '.join(found)}) and overwrite each other. "
            f"Fix: pip uninstall -y {' '.join(found)} && pip install 'consilium-cds[cpu]' "
            "(or 'consilium-cds[gpu]')"
        )
    return found[0] if found else None


def _installed() -> list[str]:
    found = []
    for name in ONNXRUNTIMES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found
