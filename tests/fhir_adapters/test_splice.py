"""Where things stand in JSON text: the quick walks find what the whole reading finds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_adapters.splice import in_each, members, start_of, with_id, with_identity

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["id", "meta", "resourceType", "resource", "entry", "x", '"', "\\", "\u00e9"])
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
WRITERS = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


@given(st.lists(OBJECTS, max_size=4), WRITERS)
def test_a_member_is_found_in_each_object_of_a_list(listed, how):
    text = json.dumps({"a": 1, "entry": listed, "z": {}}, **how)
    spans = in_each(text, start_of(text, 0, "entry"), "resource")
    found = [None if span is None else (json.loads(text[span[0] : span[1]]),) for span in spans]
    assert found == [(one["resource"],) if "resource" in one else None for one in listed]


@given(OBJECTS, WRITERS)
def test_a_walk_that_ends_early_finds_the_same(made, how):
    text = json.dumps(made, **how)
    whole = members(text, 0)
    assert set(whole) == set(made)
    for name, span in whole.items():
        assert members(text, 0, (name,)) == {name: span}
        assert start_of(text, 0, name) == span[0]


@given(OBJECTS, WRITERS)
def test_an_id_is_set_and_everything_else_stays(made, how):
    made |= {"resourceType": "Patient"}
    text = json.dumps(made, **how)
    assert json.loads(with_id(text.encode(), "new")) == made | {"id": "new"}


@pytest.mark.parametrize("name", ["\\u0069d", "i\\u0064"])
def test_a_name_that_is_written_with_escapes_is_the_same_name(name):
    text = f'{{"resourceType":"Patient","{name}":"old","x":1}}'
    made = with_identity(text.encode(), resource_id="new", version=2, updated="now")
    assert made.count(b'"new"') == 1
    assert b"old" not in made
    assert json.loads(made)["id"] == json.loads(with_id(text.encode(), "new"))["id"] == "new"
