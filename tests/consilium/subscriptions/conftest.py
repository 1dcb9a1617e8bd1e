"""A server with an endpoint beside it, on SQLite or on both databases."""

import pytest

from fhir_adapters.subscriptions.testing import receiving
from tests.consilium.subscriptions.rig import Rig


@pytest.fixture
def receiver():
    with receiving() as endpoint:
        yield endpoint


@pytest.fixture
def rig(sqlite_db, receiver):
    return Rig(sqlite_db, receiver)


@pytest.fixture
def both(db, receiver):
    return Rig(db, receiver)
