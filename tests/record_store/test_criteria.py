"""Criteria combine: and, or, not, along references and against them; with what a client may see."""

import pytest
from sqlalchemy import select

from clinical.errors import IncorrectInput
from record_store.criteria import (
    AllOf,
    AnyOf,
    Chained,
    Has,
    IdIn,
    Not,
    PatientIn,
    Present,
    ReferenceIn,
    Rows,
    StringContains,
    StringStarts,
    TokenIn,
    restricted,
)
from record_store.index_rows import IndexRows, ReferenceRow, StringRow, TokenRow
from record_store.resource_search import SearchQuery, condition, search
from record_store.resources import NewResource, put_all
from record_store.tables import resource
from record_store.time_limit import within

AT = "2026-11-22T08:00:00.000000Z"
FINAL, AMENDED = TokenIn("status", ((None, "final"),)), TokenIn("status", ((None, "amended"),))
MALE = TokenIn("gender", ((None, "male"),))


def patient(resource_id, gender, name, deleted=False):
    rows = IndexRows((TokenRow("gender", "", gender),), (StringRow("name", name),)) if not deleted else IndexRows()
    return NewResource("Patient", resource_id, 1, AT, b"{}", rows, deleted=deleted)


def observation(resource_id, about, status, note=None):
    tokens = (TokenRow("status", "", status), *([TokenRow("note", "", note)] if note else []))
    references = (ReferenceRow("subject", "Patient", about), ReferenceRow("patient", "Patient", about))
    return NewResource("Observation", resource_id, 1, AT, b"{}", IndexRows(tokens, (), (), references), about)


@pytest.fixture
def filled(db):
    with db.write() as conn:
        put_all(
            conn,
            [
                patient("p1", "male", "adam"),
                patient("p2", "female", "eve"),
                patient("p3", "male", "100% abel", deleted=True),
                observation("o1", "p1", "final", note="x"),
                observation("o2", "p1", "amended"),
                observation("o3", "p2", "final"),
                observation("o4", "p3", "final"),
            ],
        )
    return db


def found(db, resource_type, *criteria):
    with db.read() as conn:
        by_search = [match.resource.id for match in search(conn, SearchQuery(resource_type, criteria))]
        wanted = (resource.c.type == resource_type, resource.c.deleted == 0, condition(resource_type, criteria))
        assert sorted(by_search) == sorted(conn.scalars(select(resource.c.id).where(*wanted)))
    return by_search


def chained(criterion, hot=False):
    return Chained("patient" if hot else "subject", "Patient", criterion, hot)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ((AnyOf(()),), []),
        ((AllOf(()),), ["o1", "o2", "o3", "o4"]),
        ((Not(AllOf(())),), []),
        ((AnyOf((AMENDED, ReferenceIn("subject", (("Patient", "p2"),)))),), ["o2", "o3"]),
        ((AnyOf((PatientIn(("p2",)), TokenIn("note", ((None, "x"),)))),), ["o1", "o3"]),
        ((AnyOf((AllOf((FINAL, PatientIn(("p1",)))), IdIn(("o2",)))),), ["o1", "o2"]),
        ((FINAL, Not(PatientIn(("p1",)))), ["o3", "o4"]),
        ((Not(TokenIn("note", ((None, "x"),))),), ["o2", "o3", "o4"]),
        ((Present("note", Rows.TOKEN),), ["o1"]),
        ((PatientIn(("p1",)), Not(Present("note", Rows.TOKEN))), ["o2"]),
    ],
)
def test_criteria_combine(filled, criteria, expected):
    assert found(filled, "Observation", *criteria) == expected


@pytest.mark.parametrize("hot", [True, False])
def test_a_chain_asks_the_resource_that_is_pointed_to_and_never_a_deleted_one(filled, hot):
    assert found(filled, "Observation", chained(MALE, hot)) == ["o1", "o2"]
    assert found(filled, "Observation", chained(MALE, hot), AMENDED) == ["o2"]
    assert found(filled, "Observation", Not(chained(MALE, hot))) == ["o3", "o4"]
    assert found(filled, "Observation", chained(AllOf(()), hot)) == ["o1", "o2", "o3"]
    assert found(filled, "Observation", chained(Not(MALE), hot)) == ["o3"]


@pytest.mark.parametrize("hot", [True, False])
def test_has_asks_the_resources_that_point_here(filled, hot):
    def has(criterion):
        return Has("Observation", "patient" if hot else "subject", criterion, hot)

    assert found(filled, "Patient", has(AMENDED)) == ["p1"]
    assert found(filled, "Patient", has(FINAL)) == ["p1", "p2"]
    assert found(filled, "Patient", MALE, has(FINAL)) == ["p1"]
    assert found(filled, "Patient", Not(has(AMENDED))) == ["p2"]
    assert found(filled, "Observation", chained(has(AMENDED), hot)) == ["o1", "o2"]


def test_a_part_of_a_text_is_found_without_wildcards(filled):
    assert found(filled, "Patient", StringContains("name", ("v",))) == ["p2"]
    assert found(filled, "Patient", StringContains("name", ("%", "_"))) == []


def test_what_a_client_may_not_see_is_not_found_through_a_chain_either(filled):
    hidden = {"Patient": IdIn(("p2",)), "Observation": Not(FINAL)}.get
    asked = restricted((chained(MALE),), "Observation", {"Patient": IdIn(("p2",))}.get)
    assert found(filled, "Observation", *asked) == []
    asked = restricted((Not(chained(MALE)),), "Observation", {"Patient": IdIn(("p2",))}.get)
    assert found(filled, "Observation", *asked) == ["o1", "o2", "o3", "o4"]
    for has in (Has("Observation", "subject", FINAL), Has("Observation", "patient", FINAL, True)):
        assert (
            found(filled, "Patient", *restricted((AllOf((has,)),), "Patient", {"Observation": AnyOf(())}.get))
            == []
        )
    assert found(filled, "Observation", *restricted((), "Observation", hidden)) == ["o2"]


def test_deep_chains_and_hundreds_of_alternatives_are_within_what_a_database_reads(filled):
    deep = MALE
    for _ in range(3):  # six references, with what a client may see at each; a request follows four
        deep = AllOf((Chained("subject", "Patient", deep), AnyOf((FINAL, AMENDED, IdIn(("x",))))))
        deep = AllOf(
            (Has("Observation", "subject", deep), AnyOf((Not(AnyOf(())), ReferenceIn("link", ((None, "x"),)))))
        )
    many = TokenIn("gender", tuple((f"urn:{number}", "male") for number in range(500)))
    assert found(filled, "Patient", deep) == ["p1"]
    assert found(filled, "Patient", MALE, deep) == ["p1"]
    assert found(filled, "Patient", many) == []
    assert found(filled, "Patient", StringStarts("name", tuple(f"a{number}" for number in range(500)))) == []


def test_a_question_that_takes_too_long_is_told_so_and_the_connection_lives_on(db):
    endless = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT max(x) FROM n"
    )
    with db.read() as conn, pytest.raises(IncorrectInput, match="narrow it"), within(conn, 0.05):
        conn.exec_driver_sql(endless).all()
    with db.read() as conn, within(conn, 5):
        assert conn.exec_driver_sql("SELECT 1").scalar() == 1
