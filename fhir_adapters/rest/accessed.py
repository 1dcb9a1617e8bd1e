"""What of each request goes into the audit (decision 042): who, what, on whose behalf, and how it ended.

A write notes itself where it writes (`note_written`); everything else is noted at the door, when it is answered.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from flask import request
from sqlalchemy import Connection

from clinical.errors import Category, ClinicalError
from fhir_adapters.outcome import issue_of
from fhir_adapters.rest.fhir import Fhir, caller
from fhir_adapters.rest.negotiate import FORM
from record_store.accesses import Asker, add_all, row_of
from record_store.exchanges import Outcome
from record_store.resources import NewResource

_NOTED = "consilium.noted"  # in the request's environment: it has noted itself
_READS = frozenset({"read", "vread", "history-instance"})
_WRITES = frozenset({"create", "update", "patch", "delete"})
# Nothing of the store is told: what a server can do, whether a resource is right, how far an export is. The
# entries of a bundle note themselves, each.
_SILENT = frozenset(
    {
        *("capabilities", "smart-configuration", "$validate", "$export-status", "$translate"),
        "transaction",
    }
)
_INTERACTION: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OUTCOMES: Mapping[Category, Outcome] = {Category.DENIED: Outcome.SERIOUS, Category.FAULT: Outcome.MAJOR}
MAX_REQUEST_ID = 128


def note_written(fhir: Fhir, conn: Connection, news: Sequence[NewResource]) -> None:
    """Note versions that are written, in the transaction that writes them."""
    if fhir.log is None or not news:
        return
    asker, at = _asker(), fhir.now()
    add_all(
        conn,
        [
            row_of(
                asker,
                "create" if new.version == 1 else _INTERACTION[new.method],
                at=at,
                subject=f"{new.type}/{new.id}",
                patient=new.id if new.type == "Patient" else new.patient or "",
                version=new.version,
            )
            for new in news
        ],
    )
    request.environ[_NOTED] = True


def note_answered(fhir: Fhir, code: str, path: Mapping[str, str]) -> None:
    """Note that a request was answered, unless it has noted itself or there is nothing to note."""
    if fhir.log is None or code in _SILENT or _NOTED in request.environ:
        return
    if code in _WRITES:
        code = "search-type"  # it has looked, and written nothing
    query = "" if code in _READS else _query()
    fhir.log.add(row_of(_asker(), code, at=fhir.now(), subject=_subject(code, path), query=query))


def note_refused(fhir: Fhir, code: str, path: Mapping[str, str], error: ClinicalError) -> None:
    """Note that a request was refused, or could not be answered."""
    if fhir.log is None:
        return
    row = row_of(
        _asker(),
        code,
        at=fhir.now(),
        subject=_subject(code, path),
        outcome=_OUTCOMES.get(error.category, Outcome.MINOR),
        query="" if code in _READS else _query(),
        problem=issue_of(error)[0],
    )
    fhir.log.add(row)


def _asker() -> Asker:
    grant = caller()
    sent = request.headers.get("X-Request-Id", "")[:MAX_REQUEST_ID]
    return Asker(
        grant.who,
        grant.client_id,
        grant.token_id,
        grant.purpose if grant.client_id else "",
        grant.patient,
        request.remote_addr or "",
        sent if sent.isprintable() else "",
    )


def _subject(code: str, path: Mapping[str, str]) -> str:
    named = [path[name] for name in ("resource_type", "resource_id") if name in path]
    if "export_id" in path:
        named = ["$export", path["export_id"]]
    if code in ("$everything", "search-compartment"):
        named = ["Patient", path.get("resource_id", "")]
    elif code in ("$lastn", "$stats"):
        named = ["Observation"]
    return "/".join(named) or code


def _query() -> str:
    """Return the request as it was sent, in Base64 (BALP: exactly what was requested)."""
    text = request.full_path.removesuffix("?").partition("/fhir")[2].removeprefix("/")
    if request.mimetype == FORM:
        text += ("&" if "?" in text else "?") + urlencode(list(request.form.items(multi=True)))
    condition = request.headers.get("If-None-Exist")
    text = f"{request.method} {text}" + (f" If-None-Exist: {condition}" if condition else "")
    return b64encode(text[:3000].encode("utf-8", "replace")).decode()
