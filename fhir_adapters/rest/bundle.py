"""batch and transaction: POST [base] (R4 3.1.0.11)."""

from typing import Any

from flask import Response, request

from clinical.errors import IncorrectInput
from fhir_adapters.rest.batch import answer_batch
from fhir_adapters.rest.entries import entries_of
from fhir_adapters.rest.fhir import Fhir, Interaction
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.rest.transaction import answer_transaction
from fhir_adapters.strict_json import load_object
from fhir_adapters.validation.refusal import demand_valid

MAX_BUNDLE_BYTES = 32 * 1024 * 1024

_ANSWERS = {"batch": answer_batch, "transaction": answer_transaction}


def answer(fhir: Fhir) -> Response:
    """Do what the bundle's entries ask for: all or nothing in a transaction, each by itself in a batch."""
    data = read_json_body(request, MAX_BUNDLE_BYTES)
    sent = load_object(data, max_bytes=MAX_BUNDLE_BYTES)
    demand_valid(_envelope(sent) if sent.get("type") == "batch" else sent, "Bundle", fhir.profiles)
    answers = _ANSWERS.get(sent["type"])
    if answers is None:
        raise IncorrectInput("only a batch or a transaction is posted here", expression=["Bundle.type"])
    return answers(fhir, entries_of(sent, data, fhir.base_url))


def _envelope(sent: dict[str, Any]) -> dict[str, Any]:
    """Return a batch without its resources: each is judged when its entry's turn comes, and fails alone."""
    listed = sent.get("entry")
    if not isinstance(listed, list):
        return sent
    return sent | {"entry": [_without_resource(one) for one in listed]}


def _without_resource(entry: object) -> object:
    if not isinstance(entry, dict):
        return entry
    return {name: value for name, value in entry.items() if name != "resource"}


INTERACTION = Interaction("transaction", "POST", "", answer)
WITH_SLASH = Interaction("transaction", "POST", "/", answer)
