"""A store on both databases that takes messages."""

import hashlib
from datetime import UTC, datetime

import pytest

from fhir_adapters.hl7v2.intake import Incoming, Intake
from fhir_adapters.hl7v2.site import Site
from record_store.testing import database

AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


def derive(*key):
    return hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:40]


SITE = Site(
    derive=derive,
    patient_id=lambda key: derive("Patient", key.system, key.value),
    issuers={"GENERAL": "urn:oid:1.2.3"},
)


class Taking:
    """An intake, its database, and short ways to ask what is there."""

    def __init__(self, db):
        self.db = db
        self.site = SITE
        self.intake = Intake(db, lambda: self.site, lambda: AT, "http://127.0.0.1:8080/fhir")

    def take(self, *messages):
        return self.intake.take([Incoming(one, "127.0.0.1") for one in messages])

    def answer(self, message):
        (answer,) = self.take(message)
        return answer


@pytest.fixture
def taking(db):
    return Taking(db)


@pytest.fixture
def lite(sqlite_db):
    """The same on SQLite alone: for what the database makes no difference to."""
    return Taking(sqlite_db)


@pytest.fixture(scope="module")
def taking_once(tmp_path_factory):
    """One SQLite store for all examples of a property."""
    db = database(tmp_path_factory.mktemp("hl7"))
    yield Taking(db)
    db.dispose()
