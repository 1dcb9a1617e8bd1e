"""The resource store: versions, the order of pages, and what the hot columns may never change."""

import itertools
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, select

from clinical.errors import Busy, Fault
from record_store.criteria import Compare, DateIn, DateRange, IdIn, PatientIn, ReferenceIn, StringStarts, TokenIn
from record_store.index_rows import (
    INDEX_TABLES,
    DateRow,
    IndexRows,
    QuantityRow,
    ReferenceRow,
    StringRow,
    TokenRow,
    UriRow,
    fit,
)
from record_store.resource_history import latest_all, version
from record_store.resource_search import SearchQuery, SortBy, SortKey, count, search
from record_store.resources import (
    NewResource,
    hot_code,
    lock_writers,
    put,
    put_all,
    read,
)
from record_store.times import to_text

UPDATED = to_text(datetime(2026, 11, 22, tzinfo=UTC))
LOINC = "http://loinc.org"


def make(resource_id, version=1, codes=((LOINC, "a"),), patient="p1", day="2024-01-01", body=b"{}"):
    at = f"{day}T00:00:00.000000Z"
    rows = IndexRows(
        tokens=tuple(TokenRow("code", *code) for code in codes),
        strings=(StringRow("name", f"name {resource_id}"),),
        dates=(DateRow("date", at, f"{day}T23:59:59.999999Z"),) if day else (),
        references=(ReferenceRow("patient", "Patient", patient), ReferenceRow("subject", "Patient", patient)),
    )
    hot = hot_code(*codes[0]) if len(codes) == 1 else None
    return NewResource("Observation", resource_id, version, UPDATED, body, rows, patient, hot, at if day else None)


def stored(db, *resources):
    with db.write() as conn:
        put_all(conn, resources)


def found(db, *criteria, sort=(), after=None, limit=50):
    with db.read() as conn:
        query = SearchQuery("Observation", tuple(criteria), tuple(sort), after, limit)
        matches = search(conn, query)
        assert count(conn, query) >= len(matches)
        return [match.resource.id for match in matches]


def test_a_version_replaces_the_one_before_and_the_history_keeps_it(db):
    stored(db, make("o1", body=b"first"))
    stored(db, make("o1", 2, body=b"second", codes=((LOINC, "b"),), patient="p2"))
    with db.read() as conn:
        assert read(conn, "Observation", "o1").body == b"second"
        assert version(conn, "Observation", "o1", 1).stored.body == b"first"
        assert version(conn, "Observation", "o1", 2).stored.body == b"second"
        assert version(conn, "Observation", "o1", 3) is None
        assert read(conn, "Patient", "o1") is None
        assert set(latest_all(conn, [("Observation", "o1"), ("Observation", "o2")])) == {("Observation", "o1")}
    assert found(db, TokenIn("code", ((LOINC, "a"),))) == []
    assert found(db, TokenIn("code", ((LOINC, "b"),))) == ["o1"]
    assert found(db, PatientIn(("p1",))) == []


def test_a_version_that_another_writer_took_is_refused(db):
    stored(db, make("o1"))
    stored(db, make("o1", 2))
    with pytest.raises(Busy), db.write() as conn:
        put(conn, make("o1", 2, body=b"lost"))
    with db.read() as conn:
        assert read(conn, "Observation", "o1").body == b"{}"


@pytest.mark.parametrize("lines", [1, 40])
def test_a_row_that_the_database_refuses_undoes_all_and_its_value_is_in_no_word(db, caplog, lines):
    """40: PostgreSQL takes them by COPY, whose own words quote the line."""
    many = [make(f"o{number}", codes=((LOINC, f"c{number}"),)) for number in range(lines)]
    wrong = IndexRows(dates=(DateRow("date", None, "zzquoted"),))
    with pytest.raises(Fault) as refused:
        stored(db, *many, replace(make("wrong"), index=wrong))
    assert "zzquoted" not in f"{refused.value} {caplog.text}"
    assert found(db, IdIn(("o0",))) == []


@pytest.mark.parametrize("hot", [True, False])
def test_the_hot_code_column_never_changes_an_answer(db, hot):
    both = ((LOINC, "a"), (LOINC, "b"))
    stored(db, make("one"), make("two", codes=both), make("other", codes=((LOINC, "c"),)), make("none", codes=()))
    stored(db, make("bare", codes=(("", "a"),)), make("bar", codes=(("x|y", "a"),)))
    patient = PatientIn(("p1",))
    for alternatives, expected in {
        ((LOINC, "a"),): {"one", "two"},
        ((LOINC, "b"), (LOINC, "c")): {"two", "other"},
        ((None, "a"),): {"one", "two", "bare", "bar"},
        (("", "a"),): {"bare"},
        ((LOINC, None),): {"one", "two", "other"},
        (("x|y", "a"),): {"bar"},
        (("x", "y|a"),): set(),
    }.items():
        assert set(found(db, patient, TokenIn("code", alternatives, hot=hot))) == expected, alternatives


def test_every_kind_of_criterion_finds_its_rows_with_and_without_a_patient(db):
    stored(db, make("o1"), make("o2", patient="p2", day="2024-06-01"))
    day = DateRange(Compare.EQ, "2024-06-01T00:00:00.000000Z", "2024-06-30T23:59:59.999999Z")
    for criterion in (
        DateIn("date", (day,)),
        StringStarts("name", ("name o2",)),
        ReferenceIn("subject", ((None, "p2"),)),
        ReferenceIn("subject", (("Patient", "p2"), ("Group", "p1"))),
        IdIn(("o2", "o3")),
    ):
        assert found(db, criterion) == ["o2"]
        assert found(db, PatientIn(("p1", "p2")), criterion) == ["o2"]
        assert found(db, PatientIn(("p1",)), criterion) == []


def test_a_prefix_is_compared_with_its_case_and_without_wildcards(db):
    stored(db, make("a"), make("B"))
    assert found(db, StringStarts("name", ("name b",))) == []
    assert found(db, StringStarts("name", ("name _",))) == []
    assert found(db, StringStarts("name", ("%",))) == []


DATE = SortKey(SortBy.HOT_DATE)
SORTS = [
    (),
    (DATE,),
    (SortKey(SortBy.HOT_DATE, descending=True),),
    (SortKey(SortBy.TOKEN, True, "code"), DATE),
    (SortKey(SortBy.STRING, False, "name"), SortKey(SortBy.UPDATED, True)),
    (SortKey(SortBy.DATE, True, "date"), SortKey(SortBy.ID)),
]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_are_the_whole_in_the_same_order(db, sort):
    days, codes = ["2024-01-01", "2024-01-02", ""], ["a", "b"]
    kinds = itertools.cycle(itertools.product(days, codes))
    stored(db, *(make(f"o{number:02}", day=day, codes=((LOINC, code),)) for number, (day, code) in
                 zip(range(20), kinds, strict=False)))  # fmt: skip
    whole = found(db, sort=sort)
    paged, after = [], None
    for _ in range(10):
        with db.read() as conn:
            matches = search(conn, SearchQuery("Observation", (), sort, after, 3))
        if not matches:
            break
        paged += [match.resource.id for match in matches]
        after = matches[-1].place
    assert len(whole) == len(set(whole)) == 20
    assert paged == whole


@pytest.mark.slow
def test_writers_that_look_before_they_write_take_turns(db):
    stored(db, make("o1", body=b"1"))

    def add_one():
        for _ in range(5):
            with db.write() as conn:
                lock_writers(conn)
                before = read(conn, "Observation", "o1")
                put(conn, make("o1", before.version + 1, body=str(int(before.body) + 1).encode()))

    threads = [threading.Thread(target=add_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as conn:
        assert read(conn, "Observation", "o1").body == b"21"


def test_sqlite_asks_the_few_rows_of_a_candidate_and_not_all_rows_of_a_parameter(db):
    if db.dialect != "sqlite":
        return
    day = DateRange(Compare.GE, "2024-06-01T00:00:00.000000Z", "2024-06-30T23:59:59.999999Z")
    query = SearchQuery("Observation", (PatientIn(("p1",)), DateIn("date", (day,))), (DATE,))
    statements = []
    with db.read() as conn:
        search(conn, query)
        event.listen(conn.engine, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
        search(conn, query)
        text, values = statements[0]
        plan = " ".join(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values))
    assert "resource_hot (type=? AND patient=?" in plan
    assert "sp_date_owner (type=? AND id=?" in plan


@pytest.mark.parametrize("copies", [1, 20])  # few rows go one way to PostgreSQL, many another
def test_every_kind_of_index_row_comes_back_as_it_was_written(db, copies):
    odd = "Ł\\N\t'\"|%s? \n🙂"
    infinity = float("inf")
    rows = IndexRows(
        tokens=(TokenRow("code", odd, "x" * 600, odd, 3),),
        strings=(StringRow("name", odd, odd, 1),),
        dates=(DateRow("date", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", 2),),
        references=(ReferenceRow("subject", "", f"http://x/{odd}"),),
        quantities=(
            QuantityRow("value", -infinity, 0.1, odd, "", "", -infinity, 1e300, "g.m-3", 4),
            QuantityRow("value", 5e-324, infinity, "", "", "", 5e-324, infinity, ""),
        ),
        uris=(UriRow("_profile", odd, 5),),
    )
    stored(db, *(NewResource("Observation", f"o{number}", 1, UPDATED, b"{}", rows) for number in range(copies)))
    wanted = {
        "sp_token": [("code", odd, fit("x" * 600), odd, 3)],
        "sp_string": [tuple(rows.strings[0])],
        "sp_date": [tuple(rows.dates[0])],
        "sp_reference": [tuple(rows.references[0])],
        "sp_quantity": [tuple(row) for row in rows.quantities],
        "sp_uri": [tuple(rows.uris[0])],
    }
    with db.read() as conn:
        for table, row in zip(
            INDEX_TABLES, (TokenRow, StringRow, DateRow, ReferenceRow, QuantityRow, UriRow), strict=True
        ):
            columns = [table.c[name] for name in row._fields]
            found = conn.execute(select(table.c.id, *columns)).all()
            assert sorted(found) == sorted(
                (f"o{number}", *each) for number in range(copies) for each in wanted[table.name]
            )


def test_two_versions_of_one_resource_in_one_call_are_both_kept(db):
    stored(db, make("o1", body=b"first"), make("o2"), make("o1", 2, body=b"second"), make("o1", 3, body=b"third"))
    with db.read() as conn:
        kept = [version(conn, "Observation", "o1", number).stored.body for number in (1, 2, 3)]
    assert kept == [b"first", b"second", b"third"]


def test_of_several_updates_none_is_made_when_another_writer_took_one(db):
    stored(db, make("o1"), make("o2"))
    stored(db, make("o2", 2, body=b"theirs"))
    with pytest.raises(Busy), db.write() as conn:
        put_all(conn, [make("o1", 2, body=b"ours"), make("o2", 2, body=b"ours")])
    with db.read() as conn:
        assert [read(conn, "Observation", one).body for one in ("o1", "o2")] == [b"{}", b"theirs"]
