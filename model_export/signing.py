"""Sign a model folder: an Ed25519 signature over manifest.json, which covers the digests of all that is served.

The private key is a PEM file (PKCS #8, RFC 8410) that only its owner may read; openssl makes and reads the same:
`openssl genpkey -algorithm ed25519`.
"""

import base64
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from clinical.errors import IncorrectInput
from model_runtime.library import Library
from model_runtime.manifest import MANIFEST_FILE
from model_runtime.signature import SIGNATURE_FILE

OWNER_ONLY = 0o600
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def new_key(path: Path) -> str:
    """Write a new private key to a file that is not there yet; return the public key for CONSILIUM_MODEL_KEYS.

    Raises IncorrectInput when the file is there or cannot be written: a key is never replaced.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except OSError as problem:
        raise IncorrectInput(f"the key cannot be written to {path}: {problem.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return public_text(key)


def sign(folder: Path, private_key_file: Path) -> Path:
    """Write `manifest.sig` beside the manifest of a model that is what its manifest says; return its path.

    Verifies the whole folder first, and the signature as the server will. Raises IncorrectInput for a file that is
    no usable key, Fault for a model that is not sound.
    """
    key = private_key(private_key_file)
    library = Library(folder.parent)
    library.verify_all(folder.name)
    target = folder / SIGNATURE_FILE
    signature = base64.b64encode(key.sign((folder / MANIFEST_FILE).read_bytes())) + b"\n"
    unfinished = target.with_name(f".{SIGNATURE_FILE}")
    unfinished.write_bytes(signature)
    unfinished.replace(target)
    Library(folder.parent, [key.public_key().public_bytes_raw()]).manifest(folder.name)
    return target


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises IncorrectInput when it is none, is encrypted, or others may read the file."""
    try:
        if path.stat().st_mode & OTHERS:
            raise IncorrectInput(f"{path} can be read by others; chmod 600 it")
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as problem:
        raise IncorrectInput(f"the key {path} cannot be read: {problem.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IncorrectInput(f"{path} does not hold an unencrypted private key (PEM)") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IncorrectInput(f"{path} holds a key that is not an Ed25519 key")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the Base64 text of a key's public half."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
