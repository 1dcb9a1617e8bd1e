"""A store that any earlier release left behind comes up to this one, and its resources are still there."""

from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from clinical.errors import Busy
from record_store import subscriptions
from record_store.as_of import Wanted, as_of
from record_store.criteria import (
    AllOf,
    AnyOf,
    Chained,
    Has,
    Not,
    Present,
    QuantityIn,
    ReferenceIn,
    Rows,
    TokenIn,
    TokenText,
)
from record_store.index_rows import IndexRows, QuantityRow, TokenRow
from record_store.last_n import newest_of_each_code
from record_store.migrate import HEAD, _config, migrate
from record_store.reindexing import Reindexed, require_rows, rewrite, stale_batch, stale_count
from record_store.resource_links import pointed_to, pointing_at
from record_store.resource_search import SearchQuery, SortBy, SortKey, search
from record_store.resources import NewResource, put

REVISIONS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]
AT = "2026-11-22T08:00:00.000000Z"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
BY_STATUS = TokenIn("status", ((None, "final"),))


def upgrade(db, revision):
    config = _config()
    with db.write() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, revision)


def store_as_of_then(db, revision):
    """Write an Observation and a token as the release with this schema did."""
    with db.write() as conn:
        values = {"id": f"r{revision}", "at": AT, "body": b'{"status":"final"}'}
        conn.execute(
            text(
                "INSERT INTO resource (type, id, version, updated, body)"
                " VALUES ('Observation', :id, 1, :at, :body)"
            ),
            values,
        )
        conn.execute(
            text(
                "INSERT INTO sp_token (type, id, param, system, code)"
                " VALUES ('Observation', :id, 'status', 'http://hl7.org/fhir/observation-status', 'final')"
            ),
            {"id": f"r{revision}"},
        )


def found(db, *criteria):
    with db.read() as conn:
        return [each.resource.id for each in search(conn, SearchQuery("Observation", criteria))]


def test_what_every_release_stored_is_found_after_the_upgrade(empty_database):
    for revision in REVISIONS:
        upgrade(empty_database, revision)
        store_as_of_then(empty_database, revision)
    with empty_database.read() as conn:
        assert MigrationContext.configure(conn).get_current_heads() == (HEAD,)
        assert {"sp_quantity", "sp_uri"} <= set(inspect(conn).get_table_names())
    assert migrate(empty_database) == ()
    assert found(empty_database, BY_STATUS) == [f"r{revision}" for revision in REVISIONS]


@pytest.fixture
def old(db):
    """A store with two Observations of before, and one of now."""
    store_as_of_then(db, "a")
    store_as_of_then(db, "b")
    rows = IndexRows(tokens=(TokenRow("status", "", "final"),))
    with db.write() as conn:
        put(conn, NewResource("Observation", "rc", 1, AT, b"{}", rows))
    return db


QUANTITY = QuantityIn("value-quantity", ())
NEW_QUESTIONS = [
    QUANTITY,
    TokenText("status", ("fin",)),
    Present("status", Rows.TOKEN),
    Not(QUANTITY),
    AllOf((BY_STATUS, QUANTITY)),
    AnyOf((BY_STATUS, QUANTITY)),
    TokenIn("status|component-value-concept", ((None, "final"),)),
    Has("Observation", "subject", QUANTITY),
    Chained("has-member", "Observation", QUANTITY),
]


def test_a_question_that_old_rows_cannot_answer_waits_for_the_new_ones(old):
    for question in NEW_QUESTIONS:
        with old.read() as conn, pytest.raises(Busy, match="Observation"):
            require_rows(conn, "Observation", (question,))
    with old.read() as conn:
        require_rows(conn, "Patient", (QUANTITY,))  # of another type nothing is old
        require_rows(conn, "Observation", (BY_STATUS, Has("Provenance", "target", BY_STATUS)))
        require_rows(conn, "Observation", (ReferenceIn("subject", ((None, "x"),)),))


def test_an_order_by_rows_that_are_not_there_waits_too(old):
    query = SearchQuery("Observation", sort=(SortKey(SortBy.QUANTITY, param="value-quantity"),))
    with old.read() as conn, pytest.raises(Busy):
        search(conn, query)


def test_what_is_indexed_again_answers_every_question_and_is_left_alone_afterwards(old):
    with old.read() as conn:
        assert stale_count(conn) == 2
        batch = stale_batch(conn, ("", ""), 1)
        assert [each.id for each in batch] == ["ra"]
        assert [each.id for each in stale_batch(conn, ("Observation", "ra"), 9)] == ["rb"]
    rows = IndexRows(
        tokens=(TokenRow("status", "", "final"),),
        quantities=(QuantityRow("value-quantity", 1.0, 1.0, "", "", "", 1.0, 1.0, ""),),
    )
    with old.write() as conn:
        both = [*batch, *stale_batch(conn, ("Observation", "ra"), 9)]
        assert rewrite(conn, [Reindexed(each, rows, patient="p1") for each in both]) == 2
        assert rewrite(conn, [Reindexed(each, rows) for each in both]) == 0
        assert stale_count(conn) == 0
    with old.read() as conn:
        require_rows(conn, "Observation", NEW_QUESTIONS)
        assert conn.execute(text("SELECT count(*) FROM sp_token")).scalar_one() == 3
    assert found(old, BY_STATUS) == ["ra", "rb", "rc"]


def test_a_version_that_was_written_meanwhile_keeps_its_own_rows(old):
    with old.read() as conn:
        read = stale_batch(conn, ("", ""), 1)[0]
    newer = IndexRows(tokens=(TokenRow("status", "", "amended"),))
    with old.write() as conn:
        put(conn, NewResource("Observation", "ra", 2, AT, b"{}", newer))
    with old.write() as conn:
        assert rewrite(conn, [Reindexed(read, IndexRows(tokens=(TokenRow("status", "", "final"),)))]) == 0
    assert found(old, BY_STATUS) == ["rb", "rc"]


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)  # whose plan can be read of an empty table
def test_the_resources_that_wait_are_listed_by_an_index_that_is_empty_otherwise(old):
    with old.read() as conn:
        plan = conn.execute(
            text("EXPLAIN QUERY PLAN SELECT id FROM resource WHERE type = 'Observation' AND indexed < 1 LIMIT 1")
        ).all()
    assert "resource_stale" in str(plan)


def test_links_and_the_newest_of_each_code_wait_for_their_rows_too(old):
    with old.read() as conn:
        assert pointing_at(conn, "Observation", ["subject"], {"Patient": ["p1"]}) == []
        assert pointed_to(conn, "Observation", ["ra"], ["subject", "performer"]) == []
    for ask in (
        lambda conn: pointing_at(conn, "Observation", ["subject", "new"], {"Patient": ["p1"]}),
        lambda conn: pointed_to(conn, "Observation", ["ra"], ["new"]),
        lambda conn: newest_of_each_code(conn, "Observation", (), "code", 1, 9),
        lambda conn: list(as_of(conn, Wanted("Observation", AT, any_of=((QUANTITY,),)), "", lambda _: set())),
    ):
        with old.read() as conn, pytest.raises(Busy):
            ask(conn)


def test_ends_of_subscriptions_are_found_after_the_upgrade(empty_database):
    upgrade(empty_database, "0026")
    with empty_database.write() as conn:
        for own, asked in (
            ("s1", '{"end": "2026-01-01T00:00:00.000000Z"}'),
            ("s2", '{"end": null}'),
            ("s3", "{}"),
        ):
            values = {"id": own, "asked": asked, "at": AT}
            conn.execute(
                text(
                    "INSERT INTO subscription (id, version, status, asked, due_at, updated_at)"
                    " VALUES (:id, 1, 'active', :asked, :at, :at)"
                ),
                values,
            )
    migrate(empty_database)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    with empty_database.read() as conn:
        assert subscriptions.over(conn, at, LONG_AGO) == ["s1"]
        assert subscriptions.over(conn, at - timedelta(days=2), LONG_AGO) == []
