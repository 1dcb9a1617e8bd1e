"""$lastn: Observation/$lastn (R4 Observation-lastn): the newest of each code, for one patient.

Observations with a coding in common are of one code, those without any by their text. `max` says how many of each;
the other parameters are those of a search, and one of them names the patient.
"""

import re
from collections.abc import Iterable, Sequence

from flask import Response

from clinical.errors import IncorrectInput, PreconditionMissing
from fhir_adapters.rest.fhir import CONTENT_TYPE, Fhir, Interaction, allowed, visible
from fhir_adapters.rest.operation import asked_by_get, asked_by_parameters
from fhir_adapters.rest.searchset import SEARCH_LIMIT_S, entry, included, searchset, told, words_of
from fhir_adapters.rest.subset import cut_of
from fhir_adapters.search import page
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.search.parse import parse
from record_store.criteria import Criterion, PatientIn, ReferenceIn, restricted
from record_store.last_n import Ranked, newest_of_each_code
from record_store.resource_links import read_all
from record_store.time_limit import within

TYPE = "Observation"
MAX_OF_EACH = 100
MAX_ROWS = 5000  # of codings that are looked at
MAX_SHOWN = 1000

Pairs = Sequence[tuple[str, str]]


def answer(fhir: Fhir) -> Response:
    """Return the newest of each code."""
    return _lastn(fhir, asked_by_get())


def answer_post(fhir: Fhir) -> Response:
    """Return the same, asked for by a body."""
    return _lastn(fhir, asked_by_parameters())


def _lastn(fhir: Fhir, pairs: Pairs) -> Response:
    own = allowed(TYPE, "s")
    most = _most([value for name, value in pairs if name == "max"])
    wanted = parse(TYPE, [pair for pair in pairs if pair[0] != "max"], base_url=fhir.base_url, now=fhir.now())
    if sum(map(_is_one_patient, wanted.criteria)) != 1:
        raise PreconditionMissing("$lastn needs one patient: patient=…", expression=["patient"])
    if wanted.answering.sort or wanted.answering.page_token:
        raise IncorrectInput("$lastn has an order of its own, and one page", expression=["$lastn"])
    criteria = restricted(wanted.criteria, TYPE, visible)
    if own is not None and own not in criteria:
        criteria = (*criteria, own)
    cut = cut_of(wanted.answering.summary, wanted.answering.elements, (TYPE,))
    rows = TYPES[TYPE].parameters["code"].index_name
    with fhir.db.read() as conn, within(conn, SEARCH_LIMIT_S):
        ranked = newest_of_each_code(conn, TYPE, criteria, rows, most, MAX_ROWS + 1)
        ids = [one for group in groups_of(ranked) for one in group[:most]]
        if len(ranked) > MAX_ROWS or len(ids) > MAX_SHOWN:
            raise IncorrectInput(
                "that is too much for one answer: name codes or a category", expression=["$lastn"]
            )
        shown = read_all(conn, [(TYPE, one) for one in ids], visible)
        beside = included(conn, wanted.answering.includes, shown, visible)
    entries = [entry(fhir.base_url, one, "match", cut) for one in shown]
    entries += [entry(fhir.base_url, one, "include", cut) for one in beside.resources]
    if words := words_of((), cut_includes=beside.cut):
        entries.append(told(*words))
    here = page.link(fhir.base_url, f"{TYPE}/$lastn", list(pairs))
    return Response(searchset([("self", here)], entries, len(shown)), content_type=CONTENT_TYPE)


def _most(given: list[str]) -> int:
    (text,) = given or ["1"] if len(given) < 2 else [""]
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_OF_EACH:
        raise IncorrectInput(f"max takes a whole number from 1 to {MAX_OF_EACH}, once", expression=["max"])
    return int(text)


def _is_one_patient(criterion: Criterion) -> bool:
    match criterion:
        case PatientIn(ids):
            return len(ids) == 1
        case ReferenceIn("subject", named):
            return len(named) == 1
        case _:
            return False


def groups_of(ranked: Iterable[Ranked]) -> list[list[str]]:
    """Return the ids by code, newest first in each group and among the groups."""
    leaders: dict[str, str] = {}
    by_key: dict[tuple[str, str, str], str] = {}
    newest: dict[str, tuple[str, str, str]] = {}

    def leader(one: str) -> str:
        while leaders[one] != one:
            leaders[one] = one = leaders[leaders[one]]
        return one

    for found_id, date_lo, updated, *key in ranked:
        newest[found_id] = (date_lo, updated, found_id)
        leaders.setdefault(found_id, found_id)
        first = by_key.setdefault((key[0], key[1], key[2]), found_id)
        leaders[leader(found_id)] = leader(first)
    groups: dict[str, list[str]] = {}
    for one in sorted(newest, key=lambda name: newest[name], reverse=True):
        groups.setdefault(leader(one), []).append(one)
    return list(groups.values())


INTERACTION = Interaction("$lastn", "GET", "/Observation/$lastn", answer)
BY_POST = Interaction("$lastn", "POST", "/Observation/$lastn", answer_post)
