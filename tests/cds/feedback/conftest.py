"""A clinic in small: it calls services, cards are sent, and it says what became of them. On both databases."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from cds.call import HookCall
from cds.caller import Caller
from cds.card import Card, CardAbout, SelectionBehavior, Source
from cds.deadline import deadline_in
from cds.feedback.desk import Desk
from cds.feedback.sent import SentCardLog
from cds.guidance import Guidance
from cds.hygiene import CardHygiene
from cds.hygiene_rules import HygieneRules
from cds.request import parse_request
from cds.shadow import ShadowMode
from cds.suggestion import Suggestion
from cds.testing import counting_uuids, hook_body
from clinical.codes import Coding
from clinical.finding import ModelRef
from clinical.pseudonym import Pseudonyms
from clinical.risk import Indicator
from record_store.ledger import Ledger
from record_store.testing import database, empty_all_tables

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MODEL = ModelRef("diabetes-risk", "1.0.0", "d" * 64)
EHR = Caller("https://ehr.example", "ehr")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    # One for all: SQLAlchemy compiles its statements once for each database that is opened.
    db = database(tmp_path_factory.mktemp("feedback"))
    yield db
    db.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request):
    db = request.getfixturevalue("migrated_sqlite" if request.param == "sqlite" else "migrated_postgres")
    empty_all_tables(db)
    return db


@dataclass
class Clinic:
    """at: the clock. taken, held, shadowed: what the counters were told."""

    db: object
    at: datetime = START
    new_uuid: object = field(default_factory=counting_uuids)
    instance: object = field(default_factory=counting_uuids)
    taken: list = field(default_factory=list)
    held: list = field(default_factory=list)
    shadowed: list = field(default_factory=list)
    names: Pseudonyms = field(default_factory=lambda: Pseudonyms(b"k" * 32))

    def now(self):
        return self.at

    def later(self, **time):
        self.at += timedelta(**time)

    @property
    def desk(self):
        return Desk(self.db, self.now, lambda *told: self.taken.append(told))

    def hygiene(self, **rules):
        def held(*told):
            self.held.append(told)

        return CardHygiene(self.db, self.now, self.names, HygieneRules(**rules), held)

    def shadow(self, *services):
        return ShadowMode(
            frozenset(services), self.db, self.now, self.names, lambda *told: self.shadowed.append(told)
        )

    def call(self, patient="p1", service="diabetes-risk", caller=EHR, user="Practitioner/d1", **more):
        body = hook_body(patient, {}, hookInstance=self.instance()) | more
        body["context"] = {**body["context"], "userId": user}
        if user is None:  # some hooks name none
            del body["context"]["userId"]
        return HookCall(parse_request(body), {}, deadline_in(60), caller, service)

    def card(self, suggestions=1, indicator=Indicator.INFO, **about):
        """A card about one finding; keyword arguments change what it is about."""
        known = {
            "model": MODEL,
            "threshold": 0.3,
            "probability": 0.4,
            "outcome": Coding("http://snomed.info/sct", "44054006", "Diabetes mellitus type 2"),
            "finding_key": "diabetes",
        }
        source = Source("Consilium", Coding("http://example.org/topics", "risk", "Risk"))
        offered = tuple(Suggestion(f"Take it ({n})", self.new_uuid()) for n in range(suggestions))
        card = Card(self.new_uuid(), "A risk", indicator, source, about=CardAbout(**known | about))
        return with_suggestions(card, offered)

    def sends(self, card=None, call=None, **more):
        """One card of one call, as the pipeline sends it; returns the card."""
        card = card or self.card()
        rows = SentCardLog(self.now, self.names).rows(self.db, call or self.call(**more), Guidance((card,)))
        Ledger(self.db).write(rows)
        return card

    def says(self, *reports, service="diabetes-risk", caller=EHR):
        self.desk.take(service, caller, {"feedback": list(reports)})

    def accepted(self, card, at=None):
        ids = [{"id": one.uuid} for one in card.suggestions[:1]]
        return {
            "card": card.uuid,
            "outcome": "accepted",
            "acceptedSuggestions": ids,
            "outcomeTimestamp": at or f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
        }

    def overridden(self, card, code=None, at=None, comment=None, system=None):
        said = {}
        if code is not None:
            system = system or "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
            said["reason"] = {"system": system, "code": code, "display": code}
        if comment is not None:
            said["userComment"] = comment
        report = {
            "card": card.uuid,
            "outcome": "overridden",
            "outcomeTimestamp": at or f"{self.at:%Y-%m-%dT%H:%M:%SZ}",
        }
        return report | ({"overrideReason": said} if said else {})


def with_suggestions(card, offered):
    if not offered:
        return card
    return replace(card, suggestions=offered, selection_behavior=SelectionBehavior.ANY)


@pytest.fixture
def clinic(db):
    return Clinic(db)


@pytest.fixture
def one_clinic(migrated_sqlite):
    """The same, on SQLite alone: for what the database does not decide."""
    empty_all_tables(migrated_sqlite)
    return Clinic(migrated_sqlite)


@pytest.fixture
def own_clinic(sqlite_db):
    """The same, on a database of its own in tmp_path, which may be broken."""
    return Clinic(sqlite_db)
