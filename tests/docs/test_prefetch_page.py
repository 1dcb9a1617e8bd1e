"""docs/prefetch.md: every example of the page is evaluated."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from cds.deadline import deadline_in
from cds.prefetch import PrefetchTemplate, Scope, State, fill, gather, parse_query
from cds.request import parse_request
from cds.testing import FHIR_SERVER, CannedReader, hook_body
from clinical.errors import Fault, IncorrectInput, PreconditionMissing
from fhir_adapters.client import FetchFailed, Reason
from fhir_adapters.outcome import operation_outcome

PAGE = (Path(__file__).parents[2] / "docs" / "prefetch.md").read_text(encoding="utf-8")
CONTEXT, ROLES, OUTCOME = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S))
SCOPE = Scope(CONTEXT, date(2026, 11, 26), "https://ehr.example/fhir", {"roles": ROLES})


def rows(header):
    """Return the cells of the table that begins with this header; the code of the first cell, the rest as text."""
    table = PAGE.split(f"| {header} ", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
    return [tuple(cell.strip().replace("\\|", "|") for cell in row) for row in cells]


def code(cell):
    return re.match(r"`([^`]+)`", cell)[1]


@pytest.mark.parametrize(("template", "may"), [(code(a), b) for a, b in rows("template")])
def test_what_is_said_to_be_usable_is_and_the_rest_stops_the_start(template, may):
    if may.startswith("yes"):
        assert PrefetchTemplate("x", template).query == template
        return
    assert may.startswith("no")
    with pytest.raises(Fault):
        PrefetchTemplate("x", template)


TOKENS = rows("token | gives")


@pytest.mark.parametrize(("token", "gives"), [(code(a), b) for a, b in TOKENS])
def test_a_token_gives_what_the_page_says(token, gives):
    found = fill(parse_query(f"X?a={token}"), SCOPE)
    assert not found.wanted
    assert found.query == (None if gives.startswith("nothing") else f"X?a={code(gives)}")


@pytest.mark.parametrize("token", [code(a) for a, _ in rows("refused token")])
def test_a_token_that_is_said_to_be_refused_is(token):
    with pytest.raises(IncorrectInput):
        parse_query(f"X?a={token}")


@pytest.mark.parametrize(("sent", "state"), [(a, code(b)) for a, b, _ in rows("sent")])
def test_what_is_sent_has_the_state_that_the_page_says(sent, state):
    template = PrefetchTemplate("x", "Patient?a=b")
    prefetch = {} if sent == "nothing" else {"x": json.loads(code(sent))}
    assert (
        gather(parse_request(hook_body(prefetch=prefetch)), (template,), None, deadline_in(5))["x"].state == state
    )


def test_the_page_names_every_state():
    assert {code(b) for _, b, _ in rows("sent")} == {state.value for state in State}


def refusal(reader=None, **more):
    template = PrefetchTemplate("patient", "Patient/{{context.patientId}}", required=True)
    with pytest.raises(PreconditionMissing) as refused:
        gather(parse_request(hook_body(prefetch={}, **more)), (template,), reader, deadline_in(5))
    return refused.value


def test_a_412_looks_as_on_the_page():
    assert operation_outcome(refusal()) == OUTCOME


def test_every_reason_is_on_the_page_and_no_other():
    said = {row[0] for row in rows("reason")}
    told = {refusal().diagnostics.split(": ", 1)[1]}
    for reason in Reason:
        reader = CannedReader({"Patient": FetchFailed(reason)})
        told.add(refusal(reader, fhirServer=FHIR_SERVER).diagnostics.split(": ", 1)[1])
    assert said == told


def test_the_page_has_an_example_of_every_part_of_the_language():
    examples = " ".join(token for token, _ in TOKENS)
    for part in ("context.", "%", "ofType(", "resolve()", "today()", "+", "-", "|", "user"):
        assert part in examples
