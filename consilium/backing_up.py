"""A backup of all that is durable, of a server that runs; and a server out of a backup, proved to be the same.

The database first, as it is at one moment; then the blobs that its rows name, which never change. The manifest is
written last: a folder without one is no backup.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clinical.errors import ClinicalError, Fault, NotFound, PreconditionMissing
from consilium import __version__
from consilium.settings import Settings
from consilium.wiring import House
from record_store.audit import append as append_audit
from record_store.backup import Copied, copy_in, copy_out, demand_room
from record_store.backup_files import BackupFolder, Kept, key_of, pieces_of
from record_store.migrate import HEAD
from record_store.parts import PartFile
from record_store.times import to_text

MANIFEST, SECRET = "manifest.json", "secret.key"
LAYOUT = 1

Progress = Callable[[str, int, int], None]


def backup(settings: Settings, folder: Path, key_file: Path | None, progress: Progress) -> dict[str, Any]:
    """Write a backup into a new or empty folder and return its manifest.

    Raises PreconditionMissing when the folder is not empty, Fault when a blob is not there or is damaged.
    """
    house, into = House(settings), BackupFolder(folder, key_of(key_file) if key_file else None)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise PreconditionMissing("the folder is not empty: name a new one")
    began = house.now()
    try:
        # Beside the database: there is room for it, and it is as well protected.
        with tempfile.TemporaryDirectory(dir=settings.data_dir, prefix="backup-") as staging:
            copied = copy_out(house.db, into, Path(staging), progress)
        files, size = dict(copied.files), 0
        if settings.secret_key is None and (secret := settings.data_dir / SECRET).exists():
            files[SECRET] = into.write(SECRET, pieces_of(secret))
        for number, name in enumerate(copied.blobs, 1):
            size += _blob_out(house, into, name).size
            progress("blobs", number, len(copied.blobs))
        manifest = {
            "layout": LAYOUT,
            "began": to_text(began),
            "version": __version__,
            "revision": HEAD,
            "database": house.db.dialect,
            "encrypted": into.key is not None,
            "files": {name: [one.sha256, one.size] for name, one in files.items()},
            "tables": copied.tables,
            "blobs": list(copied.blobs),
            "blob bytes": size,
        }
        into.write(MANIFEST, [json.dumps(manifest).encode()])
        into.settle()
        _audit(house, manifest)
    finally:
        house.db.dispose()
    return manifest


def _audit(house: House, manifest: dict[str, Any]) -> None:
    with house.db.write() as conn:
        append_audit(
            conn,
            at=house.now(),
            action="backup",
            outcome="written",
            actor="operator",
            subject=house.db.dialect,
            detail={"objects": len(manifest["blobs"]), "encrypted": manifest["encrypted"]},
        )


def restore(settings: Settings, folder: Path, key_file: Path | None, progress: Progress) -> dict[str, Any]:
    """Make a server's data out of a backup, where there are none, and return the backup's manifest.

    The blobs come first and the database last: a restore that ends half way leaves no server that misses objects.
    Raises PreconditionMissing when there are data or the backup does not fit, Fault when it is damaged.
    """
    house, held = House(settings), BackupFolder(folder, key_of(key_file) if key_file else None)
    manifest = _manifest(held)
    if manifest["database"] != house.db.dialect:
        raise PreconditionMissing(f"the backup is of {manifest['database']}: set CONSILIUM_DATABASE_URL to one")
    if house.db.dialect == "postgresql" and manifest["revision"] != HEAD:
        raise PreconditionMissing(f"the backup is of version {manifest['version']}: restore it with that")
    demand_room(house.db)
    try:
        for number, name in enumerate(manifest["blobs"], 1):
            _blob_in(house, held, name)
            progress("blobs", number, len(manifest["blobs"]))
        files = {name: Kept(*one) for name, one in manifest["files"].items()}
        if SECRET in files:
            _secret_in(settings, b"".join(held.read(SECRET, files[SECRET])))
        tables = {name: (rows, digest) for name, (rows, digest) in manifest["tables"].items()}
        copy_in(house.db, held, Copied(files, tables, tuple(manifest["blobs"])), progress)
        house.db.count_rows()
    finally:
        house.db.dispose()
    return manifest


def _manifest(held: BackupFolder) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(b"".join(held.read(MANIFEST)))
    except ValueError:
        raise Fault("the backup's manifest is damaged") from None
    if manifest.get("layout") != LAYOUT:
        raise PreconditionMissing("the backup is of another version of Consilium: restore it with that")
    return manifest


def _blob_name(name: str) -> str:
    return f"blobs/{name[:2]}/{name}"


def _blob_out(house: House, into: BackupFolder, name: str) -> Kept:
    with house.blobs.local_path(name) as path:
        kept = into.write(_blob_name(name), pieces_of(path))
    if kept.sha256 != name:
        raise Fault("an object of the blob store is damaged")
    return kept


def _blob_in(house: House, held: BackupFolder, name: str) -> None:
    if _is_there(house, name):  # of a restore that was not finished
        return
    part = PartFile.new(house.blobs.staging)
    try:
        for piece in held.read(_blob_name(name)):
            part.write([piece])
        error: ClinicalError | None = Fault("an object of the backup is damaged")
        if part.sha256 == name:
            (error,) = house.blobs.adopt_all([part])
    finally:
        part.discard()
    if error is not None:
        raise error


def _is_there(house: House, name: str) -> bool:
    try:
        with house.blobs.local_path(name):
            return True
    except NotFound:
        return False


def _secret_in(settings: Settings, secret: bytes) -> None:
    """Put the server's secret where it was: seals of the audit and ids of patients are made with it."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = settings.data_dir / SECRET
    if path.exists() and path.read_bytes() == secret:
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise PreconditionMissing("the data folder has a secret of its own: restore into an empty one") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
