"""The server's secret: given by a setting, or made once and kept in the data folder (development).

Separate keys for separate uses are derived from it, so that a page token can never be taken for a link.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from clinical.errors import Fault
from consilium.settings import Settings

KEY_BYTES = 32
RECORDING_KEY = "recordings"  # the purpose of the key that disguises recorded calls


def master_key(settings: Settings) -> bytes:
    """Return the secret. Without CONSILIUM_SECRET_KEY it is made in the data folder, readable by us alone."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = settings.data_dir / "secret.key"
    try:
        return _checked(path.read_bytes())
    except FileNotFoundError:
        return _make(path)


def derived_key(master: bytes, purpose: str) -> bytes:
    """Return the key for one purpose (HKDF would be the same with one block: RFC 5869 2.3)."""
    return hmac.digest(master, b"consilium\x01" + purpose.encode(), hashlib.sha256)


def _make(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"secret.{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # Three processes start at once: the first link wins and all of them read the winner.
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return _checked(path.read_bytes())


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise Fault("secret.key in the data folder is damaged: remove it and links and page tokens become void")
    return key
