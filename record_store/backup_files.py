"""The files of a backup: each written once, with its digest, and encrypted where there is a key.

Encrypted is a stream of chunks of AES-256-GCM (STREAM, Hoang et al. 2015): the nonce counts the chunks and marks
the last, so that nothing can be cut off, repeated or moved unseen. Each file has a key of its own, from its salt.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from clinical.errors import Fault, PreconditionMissing
from record_store.flush import flush
from record_store.os_errors import os_errors

CHUNK = 1 << 20
_MAGIC = b"CONSILIUM-BACKUP-1\n"
_SALT, _TAG = 16, 16
_DAMAGED = "a file of the backup is damaged, or the key is another one"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was written. sha256, size: of the bytes as they were, not as they stand on the disk."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class BackupFolder:
    """A folder of files. key: 32 bytes or more; None leaves them as they are."""

    path: Path
    key: bytes | None = field(default=None, repr=False)

    def write(self, name: str, pieces: Iterable[bytes]) -> Kept:
        """Write a file durably. Raises Busy or Fault as `os_errors`."""
        file = self._file(name)
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece

        with os_errors():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                for piece in counted() if self.key is None else _sealed(self.key, counted()):
                    opened.write(piece)
                opened.flush()
                os.fsync(opened.fileno())
        return Kept(digest.hexdigest(), size)

    def read(self, name: str, kept: Kept | None = None) -> Iterator[bytes]:
        """Yield a file as it was. Raises Fault when it is damaged, at its end when its digest is another one."""
        digest, size = hashlib.sha256(), 0
        file = self._file(name)
        if not file.is_file():
            raise Fault("a file of the backup is not there, or it is encrypted and there is no key")
        with os_errors(), file.open("rb") as opened:
            for piece in iter(lambda: opened.read(CHUNK), b"") if self.key is None else _opened(self.key, opened):
                digest.update(piece)
                size += len(piece)
                yield piece
        if kept is not None and (digest.hexdigest(), size) != (kept.sha256, kept.size):
            raise Fault(_DAMAGED)

    def settle(self) -> None:
        """Make the names durable."""
        for folder in {file.parent for file in self.path.rglob("*")} | {self.path}:
            flush(folder)

    def _file(self, name: str) -> Path:
        return self.path / (name if self.key is None else f"{name}.enc")


def key_of(file: Path) -> bytes:
    """Return the key in a file. Raises PreconditionMissing when there are fewer than 32 bytes of it."""
    data = b""
    with suppress(OSError):
        data = file.read_bytes().strip()
    if len(data) < 32:
        raise PreconditionMissing("the key file has to hold at least 32 bytes: `openssl rand -hex 32`")
    return hashlib.sha256(data).digest()


def pieces_of(file: Path) -> Iterator[bytes]:
    """Yield a file in pieces."""
    with os_errors(), file.open("rb") as opened:
        yield from iter(lambda: opened.read(CHUNK), b"")


def _own_key(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, b"consilium-backup\x1f" + salt, hashlib.sha256)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _sealed(key: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - who encrypts only

    salt = secrets.token_bytes(_SALT)
    cipher, number, held = AESGCM(_own_key(key, salt)), 0, bytearray()
    yield _MAGIC + salt
    for piece in pieces:
        held += piece
        while len(held) > CHUNK:  # not at CHUNK: the last one may be whole, and is never empty but alone
            yield cipher.encrypt(_nonce(number, last=False), bytes(held[:CHUNK]), None)
            del held[:CHUNK]
            number += 1
    yield cipher.encrypt(_nonce(number, last=True), bytes(held), None)


def _opened(key: bytes, file: BinaryIO) -> Iterator[bytes]:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    head = file.read(len(_MAGIC) + _SALT)
    if not head.startswith(_MAGIC):
        raise Fault("a file of the backup is not encrypted as this version does it")
    cipher, number = AESGCM(_own_key(key, head[len(_MAGIC) :])), 0
    chunk = file.read(CHUNK + _TAG)
    while True:
        following = file.read(CHUNK + _TAG)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), chunk, None)
        except InvalidTag:
            raise Fault(_DAMAGED) from None
        if not following:
            return
        chunk, number = following, number + 1
