"""SMART scopes are read, written and shared as SMART App Launch 2.2 has them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_adapters.access.scopes import ORDER, Scope, ScopeMalformed, granted, parse, parse_all, shared, text_of

KINDS = ("*", "Observation", "Patient")
PAIRS = (("category", "laboratory"), ("category", "http://a.example/c|vital signs"), ("_security", "R&D=1"))
LETTERS = st.sets(st.sampled_from(ORDER), min_size=1).map(lambda chosen: "".join(sorted(chosen, key=ORDER.index)))
SCOPES = st.builds(
    Scope,
    st.sampled_from(("patient", "user", "system")),
    st.sampled_from(KINDS),
    LETTERS,
    st.sets(st.sampled_from(PAIRS)).map(lambda chosen: tuple(sorted(chosen))),
)


@given(SCOPES)
def test_what_is_written_is_read_again(scope):
    assert parse(str(scope)) == scope
    assert " " not in str(scope)


@given(
    st.text(max_size=40)
    | st.from_regex(r"(patient|system)/(Observation|\*)\.[cruds?=&%a-f*]{0,8}", fullmatch=True)
)
def test_any_text_is_a_scope_or_refused_as_none(text):
    with contextlib.suppress(ScopeMalformed):
        assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("patient/*.read", "patient/*.rs"),
        ("user/Observation.write", "user/Observation.cud"),
        ("system/*.*", "system/*.cruds"),
    ],
)
def test_the_older_form_means_what_smart_says(old, new):
    assert parse(old) == parse(new)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "system",
        "system/",
        "system/*",
        "system/*.",
        "system/*.sr",  # out of order
        "system/*.rr",
        "system/*.R",
        "system/*.read?category=a",
        "system/**.rs",
        "system/observation.rs",
        "system/Observation.rs?",
        "system/Observation.rs?category",
        "system/Observation.rs?category=",
        "system/Observation.rs?=x",
        "system/Observation.rs?category=%ff",
        "system/Observation.rs?category=%00",
        'system/Observation.rs?category="x"',
        "system/Observation.rs?category=a b",
        "system/Observation/1.r",
        "admin/*.rs",
        "system/*.rs,system/*.cruds",
        "system/*.rs\n",
        "system/Observation.rs?" + "&".join(f"a{n}=b" for n in range(9)),
        "system/Observation.rs?code=" + "x" * 600,
    ],
)
def test_what_is_no_scope_is_refused(text):
    with pytest.raises(ScopeMalformed):
        parse(text)


@given(SCOPES, SCOPES, st.sampled_from(KINDS[1:]), st.sampled_from(ORDER))
def test_what_two_scopes_share_lets_through_what_both_do_and_demands_what_both_demand(
    asked, registered, kind, letter
):
    both = shared(asked, registered)
    wider = asked.context not in (registered.context, "patient")
    reached = asked.covers(kind, letter) and registered.covers(kind, letter) and not wider
    assert (both is not None and both.covers(kind, letter)) == reached
    if both is not None:
        assert set(both.parameters) == set(asked.parameters) | set(registered.parameters)
        assert both.context == asked.context


@given(
    st.lists(SCOPES, max_size=4), st.lists(SCOPES, max_size=4), st.sampled_from(KINDS[1:]), st.sampled_from(ORDER)
)
def test_a_client_is_granted_no_more_than_it_asked_for_and_is_registered_for(asked, registered, kind, letter):
    result = granted(asked, registered)
    for one in result:
        assert any(
            shared(one, own) is not None and set(own.parameters) <= set(one.parameters) for own in registered
        )
    # Leaving out what another scope says already takes nothing away.
    every = [both for want in asked for own in registered if (both := shared(want, own)) is not None]
    for one in every:
        if one.covers(kind, letter):
            assert any(
                other.covers(kind, letter)
                and other.context == one.context
                and set(other.parameters) <= set(one.parameters)
                for other in result
            )
    assert parse_all(text_of(result)) == result


def test_scopes_of_launch_and_identity_are_passed_over():
    assert parse_all("openid fhirUser launch/patient offline_access system/Patient.r") == (
        parse("system/Patient.r"),
    )


def test_a_request_has_at_most_a_hundred_scopes():
    with pytest.raises(ScopeMalformed):
        parse_all(" ".join(f"system/Observation.rs?code={n}" for n in range(101)))
