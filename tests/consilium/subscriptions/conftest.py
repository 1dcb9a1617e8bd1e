"""A server with an endpoint beside it, on SQLite or on both databases."""

import pytest

from fhir_adapters.subscriptions.testing import receiving
from record_store import testing
from record_store.testing import database, empty_all_tables, postgres_absent
from tests.consilium.subscriptions.rig import Rig


@pytest.fixture
def receiver():
    with receiving() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def postgres_db():
    if reason := postgres_absent():
        pytest.skip(reason)
    with testing.migrated_postgres() as db:
        yield db


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subscriptions")
    database(folder).dispose()
    return folder / "consilium.db"


@pytest.fixture
def sqlite(migrated, tmp_path):
    (tmp_path / "consilium.db").write_bytes(migrated.read_bytes())
    db = database(tmp_path)
    yield db
    db.dispose()


@pytest.fixture
def rig(sqlite, receiver):
    return Rig(sqlite, receiver)


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request, receiver):
    if request.param == "sqlite":
        return Rig(request.getfixturevalue("sqlite"), receiver)
    db = request.getfixturevalue("postgres_db")
    empty_all_tables(db)
    return Rig(db, receiver)
