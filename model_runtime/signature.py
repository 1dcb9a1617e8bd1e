"""Ed25519 signatures of manifests (RFC 8032): who released a model, for sites that want to know.

The signature lies beside the manifest as `manifest.sig`, Base64 of 64 bytes over the manifest's bytes. As the
manifest holds the digests of all other files, it covers the whole folder but the card and its plots.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clinical.errors import IncorrectInput

SIGNATURE_FILE = "manifest.sig"
KEY_BYTES = 32
SIGNATURE_BYTES = 64


def is_signed(manifest: bytes, signature_file: Path, keys: Sequence[bytes]) -> bool:
    """Tell whether the file holds a signature of these bytes by one of the keys; False when it cannot be read."""
    try:
        signature = base64.b64decode(signature_file.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error):
        return False
    return any(_verifies(key, signature, manifest) for key in keys)


def _verifies(key: bytes, signature: bytes, manifest: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, manifest)
    except InvalidSignature:
        return False
    return True


def public_key(text: str) -> bytes:
    """Return the key of its Base64 text. Raises IncorrectInput when that is not 32 bytes."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:  # binascii.Error is one; letters that Base64 does not have are another
        key = b""
    if len(key) != KEY_BYTES:
        raise IncorrectInput("a model key must be the Base64 text of a 32-byte Ed25519 public key")
    return key
