"""Stores for the tests of queries: both databases, and objects put in as they are when they have been received."""

import io
import shutil
from datetime import UTC, datetime

import pytest

from dicom_node.query.indexing import HeaderIndex
from record_store import testing
from record_store.database import open_database
from record_store.instances import ReceivedInstance, record_instance
from record_store.testing import MemoryBlobs, empty_all_tables, postgres_absent


@pytest.fixture(scope="session")
def migrated_postgres():
    if reason := postgres_absent():
        pytest.skip(reason)
    with testing.migrated_postgres() as db:
        yield db


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request, tmp_path, migrated_database):
    if request.param == "postgresql":
        db = request.getfixturevalue("migrated_postgres")
        empty_all_tables(db)
        yield db
        return
    copy = tmp_path / "consilium.db"
    shutil.copy(migrated_database, copy)
    db = open_database(f"sqlite:///{copy}")
    yield db
    db.dispose()


class Store:
    """Objects in a store, and the index over it."""

    def __init__(self, db, folder):
        self.db, self.blobs = db, MemoryBlobs(folder)
        self.index = HeaderIndex(db, self.blobs, lambda: datetime.now(UTC))

    def put(self, ds, *, sender="PACS"):
        """Store a data set as the SCP does."""
        file = io.BytesIO()
        ds.save_as(file, enforce_file_format=True)
        blob = self.blobs.put(file.getvalue())
        one = ReceivedInstance(
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            study_uid=str(ds.StudyInstanceUID),
            series_uid=str(ds.SeriesInstanceUID),
            modality=str(ds.get("Modality", "")),
            patient=None,
            sha256=blob.sha256,
            size=blob.size,
            calling_ae=sender,
            called_ae="CONSILIUM",
        )
        with self.db.write() as conn:
            record_instance(conn, one, datetime.now(UTC))
        return ds


@pytest.fixture
def store(db, tmp_path):
    """A store over each of the databases."""
    return Store(db, tmp_path)


@pytest.fixture
def kept(tmp_path, migrated_database):
    """A store over SQLite alone, for what does not depend on the database."""
    copy = tmp_path / "consilium.db"
    shutil.copy(migrated_database, copy)
    db = open_database(f"sqlite:///{copy}")
    yield Store(db, tmp_path)
    db.dispose()
