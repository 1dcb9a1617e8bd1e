"""What is to outlive the power: the bytes of a file, or the names in a folder."""

import os
from pathlib import Path


def flush(path: str | Path) -> None:
    """Flush a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
