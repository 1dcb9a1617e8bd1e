"""The research export: every resource of the cohort without its people, as NDJSON, from one snapshot of the store.

Three walks: who there is and what they have said; what is in; the resources themselves. Memory holds a page of
resources; what has to be known of all of them is a table on the disk.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, select

from clinical.destination_pseudonyms import Pseudonyms
from fhir_adapters.research.cohort import Cohort, Row, in_groups
from fhir_adapters.research.consent import says_of_research
from fhir_adapters.research.dates import Shift
from fhir_adapters.research.rules import DROPPED, LEFT_OUT, VERSION
from fhir_adapters.research.walk import Aims, Work
from fhir_adapters.search.index import target_of
from fhir_adapters.search.parameters import TYPES
from fhir_adapters.verbatim import Verbatim
from record_store.as_of import PAGE
from record_store.tables import resource, sp_reference
from record_store.times import to_text

Json = dict[str, Any]
Progress = Callable[[str, int, int], None]

SMALLEST_GROUP = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What is exported, and for whom. types: () for all. issuers: FHIR identifier system -> DICOM issuer.

    opt_in: only patients whose consent permits research; else all but those whose consent denies it. systems: code
    systems of the site whose codes may be shown.
    """

    names: Pseudonyms
    now: datetime
    base_url: str
    types: tuple[str, ...] = ()
    issuers: Mapping[str, str] = field(default_factory=dict)
    opt_in: bool = False
    systems: frozenset[str] = frozenset()


@dataclass(slots=True)
class Tally:
    """What was done. groups: patients by what is left of birth year, sex and place."""

    written: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    groups: Counter[tuple[str, ...]] = field(default_factory=Counter)
    left_out: dict[str, int] = field(default_factory=dict)


def export(
    conn: Connection,
    wish: Wish,
    folder: Path,
    scratch: Path,
    progress: Progress = lambda _kind, _done, _all: None,
) -> Json:
    """Write `<type>.ndjson` into a folder and return what the manifest says of them.

    conn: in a transaction that sees one snapshot. scratch: a file for who is who, which must not leave with the
    folder; the caller removes it. progress: told (type, resources done, resources in all).
    """
    tally, kinds = Tally(), types_there(conn, wish.types)
    cohort = Cohort(scratch, wish.names, opt_in=wish.opt_in)
    try:
        # All types: an Observation that names its Encounter only is of that one's patient, exported or not.
        _meet(conn, wish, cohort, types_there(conn, ()))
        tally.left_out = cohort.settle(kinds)
        counts = cohort.counts()
        aims = Aims(wish.names, cohort.known, wish.base_url, wish.systems)
        for kind in kinds:
            with (folder / f"{kind}.ndjson").open("wb") as file:
                for done, line in enumerate(_lines(conn, kind, wish, aims, cohort, tally), 1):
                    file.write(line)
                    if done % PAGE == 0:
                        progress(kind, done, counts.get(kind, 0))
            progress(kind, tally.written[kind], counts.get(kind, 0))
    finally:
        cohort.close()
    return _manifest(wish, tally)


def types_there(conn: Connection, asked: Sequence[str]) -> list[str]:
    """Return the types that can be exported and of which there is something, sorted."""
    there = set(conn.execute(select(resource.c.type).where(resource.c.deleted == 0).distinct()).scalars())
    return sorted(
        kind for kind in there if kind in TYPES and kind not in LEFT_OUT and (not asked or kind in asked)
    )


def _meet(conn: Connection, wish: Wish, cohort: Cohort, kinds: Sequence[str]) -> None:
    for _, body in _bodies(conn, "Patient"):
        found = json.loads(body)
        cohort.add_patient(str(found["id"]), _dicom_name(found, wish.issuers))
    for _, body in _bodies(conn, "Consent"):
        consent = json.loads(body)
        said = says_of_research(consent, wish.now)
        kind, name = target_of(str(consent.get("patient", {}).get("reference", "")), wish.base_url)
        if said is not None and kind == "Patient":
            cohort.says(name, yes=said)
    for kind in kinds:
        for some in in_groups(_rows(conn, kind)):
            cohort.add(some)


def _dicom_name(patient: Json, issuers: Mapping[str, str]) -> tuple[str, str] | None:
    for one in patient.get("identifier", ()):
        if one.get("system") in issuers and isinstance(one.get("value"), str):
            return issuers[one["system"]], one["value"].strip()
    return None


def _rows(conn: Connection, kind: str) -> Iterator[Row]:
    after = ""
    columns = (resource.c.id, resource.c.patient)
    query = select(*columns).where(resource.c.type == kind, resource.c.deleted == 0).order_by(resource.c.id)
    while rows := conn.execute(query.where(resource.c.id > after).limit(PAGE)).all():
        alone = [row.id for row in rows if row.patient is None and kind != "Patient"]
        links: dict[str, set[tuple[str, str]]] = {}
        if alone:
            row = sp_reference.c
            wanted = select(row.id, row.target_type, row.target_id).where(row.type == kind, row.id.in_(alone))
            for name, target_type, target_id in conn.execute(wanted.where(row.target_type != "")):
                links.setdefault(name, set()).add((target_type, target_id))
        for found in rows:
            yield Row(kind, found.id, found.patient, tuple(sorted(links.get(found.id, ()))))
        after = rows[-1].id


def _bodies(conn: Connection, kind: str) -> Iterator[tuple[str, bytes]]:
    after = ""
    columns = (resource.c.id, resource.c.body)
    query = select(*columns).where(resource.c.type == kind, resource.c.deleted == 0).order_by(resource.c.id)
    while rows := conn.execute(query.where(resource.c.id > after).limit(PAGE)).all():
        for row in rows:
            yield row.id, bytes(row.body)
        after = rows[-1].id


def _lines(conn: Connection, kind: str, wish: Wish, aims: Aims, cohort: Cohort, tally: Tally) -> Iterator[bytes]:
    today = wish.now.date()
    for name, body in _bodies(conn, kind):
        new_id = cohort.known(kind, name)
        if new_id is None:
            continue
        patient = cohort.patient_of(kind, name)
        shift = None if patient is None else Shift(cohort.days_of(patient), today)
        work = Work(aims, shift, tally.dropped)
        left = work.resource(json.loads(body, parse_float=Verbatim), new_id)
        if left is DROPPED:
            tally.refused[kind] += 1
            # It is still known, and what points to it would point to nothing.
            left = {"resourceType": kind, "id": new_id}
        if kind == "Patient":
            tally.groups[_group(left)] += 1
        tally.written[kind] += 1
        yield orjson.dumps(left, default=_digits) + b"\n"


def _digits(value: object) -> orjson.Fragment:
    if isinstance(value, Verbatim):
        return orjson.Fragment(value.text)
    raise TypeError


def _group(patient: Json) -> tuple[str, ...]:
    places = patient.get("address", [{}])[0]
    place = (places.get(name, "") for name in ("country", "state", "postalCode"))
    return (patient.get("birthDate", ""), patient.get("gender", ""), *place)


def _manifest(wish: Wish, tally: Tally) -> Json:
    small = {group: count for group, count in tally.groups.items() if count < SMALLEST_GROUP}
    return {
        "made": to_text(wish.now),
        "method": "45 CFR 164.514(b)(2), with dates moved by a number of days of each patient",
        "rules": VERSION,
        "key": wish.names.key_id,
        "consent": "opt-in" if wish.opt_in else "opt-out",
        "resources": dict(sorted(tally.written.items())),
        "emptied": dict(sorted(tally.refused.items())),
        "left out for consent": tally.left_out,
        "dropped": dict(tally.dropped.most_common()),
        "quasi-identifiers": {
            "of": ["birth year", "sex", "country", "state", "postal code"],
            "groups": len(tally.groups),
            "smallest": min(tally.groups.values(), default=0),
            f"groups below {SMALLEST_GROUP}": len(small),
            "patients in them": sum(small.values()),
        },
    }


def digest_of(file: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
