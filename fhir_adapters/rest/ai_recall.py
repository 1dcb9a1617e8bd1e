"""$ai-recall: POST [base]/$ai-recall, an operation of ours (R4 3.2): see `fhir_adapters.rest.ai.recall`."""

import time
from collections.abc import Sequence

import orjson
from flask import Response, request

from clinical.errors import Denied, IncorrectInput
from fhir_adapters.outcome import body_response
from fhir_adapters.rest.ai import parameters as said
from fhir_adapters.rest.ai.changes import Who
from fhir_adapters.rest.ai.desk import Delivered
from fhir_adapters.rest.ai.recall import BATCH, Recalled, Total, device_meant, recall_batch
from fhir_adapters.rest.ai.who import asking
from fhir_adapters.rest.fhir import Fhir, Interaction, allowed
from fhir_adapters.rest.negotiate import read_json_body
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import RESULTS
from fhir_adapters.strict_json import load_object
from record_store.resources import read

MOST = 5_000  # results of one request
USUAL = 1_000
LONGEST_S = 20.0
LONGEST_REASON = 500
KNOWN = {
    "device": ("valueReference",),
    "model": ("valueString",),
    "version": ("valueString",),
    "digest": ("valueString",),
    "reason": ("valueString",),
    "dryRun": ("valueBoolean",),
    "keepConfirmed": ("valueBoolean",),
    "after": ("valueString",),
    "count": ("valueInteger",),
}


def answer(fhir: Fhir) -> Response:
    """Recall up to `count` results and say what was done, what is left, and what went to archives."""
    _demand_all()
    asked = said.asked_of(load_object(read_json_body(request)), KNOWN)
    what = recalled_of(fhir, asked)
    total = recall(
        fhir,
        what,
        asking(),
        after=asked.text("after"),
        most=asked.number("count", USUAL, MOST),
        dry_run=asked.flag("dryRun"),
    )
    return body_response(told(fhir, what, total, dry_run=asked.flag("dryRun")), 200)


def recalled_of(fhir: Fhir, asked: said.Asked) -> Recalled:
    """Return which results are meant. Raises IncorrectInput, or NotFound for a Device that is not here."""
    name, version, digest = asked.text("model"), asked.text("version"), asked.text("digest")
    if asked.text("device"):
        kind, ident = target_of(asked.text("device"), fhir.base_url)
        with fhir.db.read() as conn:
            stored = read(conn, "Device", ident) if kind == "Device" else None
        name, version, digest = device_meant(None if stored is None else orjson.loads(stored.body))
    if not (name and version):
        raise IncorrectInput("name a `device`, or a `model` and a `version`", expression=["Parameters.parameter"])
    reason = asked.text("reason")
    if not 0 < len(reason) <= LONGEST_REASON and not asked.flag("dryRun"):
        raise IncorrectInput(
            f"a recall needs a `reason` of up to {LONGEST_REASON} characters", expression=["reason"]
        )
    return Recalled(name, version, digest, reason, asked.flag("keepConfirmed"))


def recall(fhir: Fhir, what: Recalled, who: Who, *, after: str, most: int, dry_run: bool) -> Total:
    """Go on batch by batch until `most` results were looked at, the time is over, or nothing is left."""
    total, began, looked = Total(next=after), time.monotonic(), 0
    while True:
        opened = fhir.db.read() if dry_run else fhir.db.write()
        with opened as conn:
            total.add(recall_batch(fhir, conn, what, who, total.next, dry_run=dry_run, readings=fhir.desk.recall))
        looked += BATCH
        if not total.next or looked >= most or time.monotonic() - began > LONGEST_S:
            return total


def told(fhir: Fhir, what: Recalled, total: Total, *, dry_run: bool) -> said.Json:
    """Return the answer."""
    with fhir.db.read() as conn:
        delivered = fhir.desk.delivered(conn, total.readings)
    return said.told(
        said.flag("dryRun", dry_run),
        said.text("model", what.model),
        said.text("version", what.version),
        said.text("digest", what.digest),
        said.number("retracted", total.retracted),
        said.number("alreadyInError", total.before),
        said.number("confirmedKept", total.kept),
        said.number("confirmedRetracted", total.confirmed),
        said.flag("complete", not total.next),
        said.text("next", total.next),
        *(said.named("provenance", one) for one in total.provenances),
        *(_delivered(one) for one in delivered),
        *_todo(fhir, what, delivered),
    )


def _delivered(one: Delivered) -> said.Json:
    return said.parts(
        "delivered",
        said.text("destination", one.destination),
        said.text("kind", one.kind),
        said.text("state", one.state),
        said.number("objects", one.objects),
    )


def _todo(fhir: Fhir, what: Recalled, delivered: Sequence[Delivered]) -> list[said.Json | None]:
    return [said.text("todo", one) for one in fhir.desk.todo(what.model, what.version, delivered)]


def _demand_all() -> None:
    """Raise Denied unless the caller may change every result of every patient: a recall of some is none."""
    for kind in (*RESULTS, "Device"):
        if allowed(kind, "u") is not None:
            raise Denied("a recall is of all patients: it takes a system scope without restrictions")


INTERACTION = Interaction("$ai-recall", "POST", "/$ai-recall", answer)
