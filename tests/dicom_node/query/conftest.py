"""Stores for the tests of queries, and objects put in as they are when they have been received."""

import io
from datetime import UTC, datetime

import pytest

from dicom_node.query.indexing import HeaderIndex
from record_store.instances import ReceivedInstance, record_instance
from record_store.testing import MemoryBlobs


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
def kept(sqlite_db, tmp_path):
    """A store over SQLite alone, for what does not depend on the database."""
    return Store(sqlite_db, tmp_path)
