"""One server and one archive for the flows, at DEBUG, with the canary as its only patient."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consilium.demo.server import RunningServer
from dicom_node.testing import ReceivedByAe, listening_ae
from record_store.database import Database, open_database
from tests.serving import serving

SYSTEM = "urn:consilium:test-hospital"


@pytest.fixture(scope="session")
def archive() -> Iterator[ReceivedByAe]:
    with listening_ae(ae_title="ARCHIVE") as listening:
        yield listening


@pytest.fixture(scope="session")
def house(archive: ReceivedByAe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder: Path = tmp_path_factory.mktemp("house")
    settings = {
        "LOG_LEVEL": "DEBUG",
        "STUDY_QUIET_S": "0.5",
        "WEB_WORKERS": "1",
        "HOOK_BUDGET_MS": "10000",
        "PATIENT_ISSUERS": json.dumps({"": SYSTEM}),
        "DICOM_PRIVATE_SYNTAXES": json.dumps({"1.2.840.113619.5.2": "implicit"}),
        "PACS": json.dumps(
            [{"name": "archive", "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE"}]
        ),
    }
    with serving(folder, settings) as server:
        yield server


@pytest.fixture
def store(house: RunningServer) -> Iterator[Database]:
    db = open_database(f"sqlite:///{house.log.parent / 'data' / 'consilium.db'}")
    yield db
    db.dispose()
