"""Each service, each thing it depends on, each way to fail: what the EHR hears, and never `cards: []`."""

import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from clinical.errors import (
    Busy,
    ClinicalError,
    Denied,
    Fault,
    IncorrectInput,
    NotFound,
    PreconditionMissing,
    Unsupported,
)
from model_runtime.testing import Slow, manifest_of, risk_document
from record_store.database import open_database

SERVICES = ("breast-lesion", "diabetes-risk", "heart-rate", "imaging-findings", "order-imaging")
WITH_MODEL = ("breast-lesion", "diabetes-risk", "heart-rate")


def said(answer: Any) -> tuple[int, str]:
    """Return the status and, where it is 200, "cards" or "silence"."""
    body = answer.get_json()
    assert "zzcanary" not in answer.text.lower() or answer.status_code == 200
    if answer.status_code == 200:
        return 200, "cards" if body["cards"] else "silence"
    assert body["resourceType"] == "OperationOutcome"
    assert "cards" not in body
    if answer.status_code == 503:
        assert int(answer.headers["Retry-After"]) > 0
    if answer.status_code == 412:
        assert all(where.startswith("prefetch") for where in body["issue"][0]["expression"])
    return answer.status_code, body["issue"][0]["code"]


@pytest.mark.parametrize("service", SERVICES)
def test_when_nothing_fails_there_is_a_card(ward, service):
    answer = ward.client(records=True).post(f"/cds-services/{service}", json=ward.call(service))
    assert said(answer) == (200, "cards"), answer.text


class Unforeseen(Exception):
    pass


def crash(_inputs):
    raise Unforeseen("Zzcanary Quillon")


def numbers(value):
    """Every number of every output is this one."""
    return lambda good: {name: np.full_like(array, value) for name, array in good.items()}


# What a model may do instead of answering: a change of its good outputs, an error, or a function of the inputs.
MODEL_FAULTS: dict[str, tuple[Any, int]] = {
    "it crashes": (crash, 500),
    "it is broken": (Fault("broken"), 500),
    "it says that our input is wrong": (IncorrectInput("no"), 500),
    "it says not found": (NotFound("no"), 500),
    "it says that it is not able to": (Unsupported("no"), 500),
    "it says that we may not": (Denied("no", unauthenticated=True), 500),
    "it says that something is missing": (PreconditionMissing("no"), 500),
    "it is busy": (Busy("later", retry_after_s=3), 503),
    "NaN": (numbers(math.nan), 500),
    "infinity": (numbers(math.inf), 500),
    "beyond what a probability can be": (numbers(1e30), 500),
    "no output": (lambda good: {}, 500),
    "an output too few": (lambda good: dict(list(good.items())[1:]), 500),
    "an output without rows": (lambda good: {name: array[:0] for name, array in good.items()}, 500),
    "a row too many": (
        lambda good: {name: np.concatenate([array, array[:1]]) for name, array in good.items()},
        500,
    ),
    "another number of axes": (lambda good: {name: array[..., None] for name, array in good.items()}, 500),
    "words": (lambda good: {name: np.full(array.shape, "zzcanary") for name, array in good.items()}, 500),
}


@pytest.mark.parametrize("service", WITH_MODEL)
@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_a_model_that_fails_is_5xx(ward, service, fault):
    what, status = MODEL_FAULTS[fault]
    key = next(key for key in ward.good_answers() if ward.models[service] in (key, key[0]))
    good = ward.good_answers()[key]
    fails = isinstance(what, ClinicalError) or what is crash
    client = ward.client(engine=ward.engine({key: what if fails else lambda inputs: what(good(inputs))}))
    answer = client.post(f"/cds-services/{service}", json=ward.call(service))
    assert said(answer)[0] == status, answer.text


@pytest.mark.parametrize("service", WITH_MODEL)
def test_a_model_that_is_absent_is_500_and_one_of_another_kind_too(ward, service):
    body = ward.call(service)
    answer = ward.client(engine=ward.engine(without=ward.models[service])).post(
        f"/cds-services/{service}", json=body
    )
    assert said(answer)[0] == 500
    other = ward.engine()
    kind = "lung-nodule" if service == "diabetes-risk" else "diabetes-risk"
    document = risk_document(kind) if service != "diabetes-risk" else None
    if document is not None:
        other._manifests[ward.models[service]] = manifest_of(document)
        assert said(ward.client(engine=other).post(f"/cds-services/{service}", json=body))[0] == 500


@pytest.mark.timed
def test_models_that_are_slow_are_503_within_the_time_of_the_call(ward):
    def call(service):
        key = next(key for key in ward.good_answers() if ward.models[service] in (key, key[0]))
        client = ward.client(engine=ward.engine({key: Slow(30.0, {})}), budget_s=0.3)
        return said(client.post(f"/cds-services/{service}", json=ward.call(service)))

    began = time.monotonic()
    with ThreadPoolExecutor() as threads:
        assert set(threads.map(call, WITH_MODEL)) == {(503, "throttled")}
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("service", ["imaging-findings", "order-imaging"])
def test_what_was_read_before_is_shown_although_no_model_is_there_now(ward, service):
    answer = ward.client(engine=ward.engine(dict.fromkeys(ward.good_answers(), Fault("broken")))).post(
        f"/cds-services/{service}", json=ward.call(service)
    )
    assert said(answer) == (200, "cards")


def away(_ward, folder):
    return open_database(f"sqlite:///{folder / 'none' / 'x.db'}")


def empty(_ward, folder):
    return open_database(f"sqlite:///{folder / 'empty.db'}")


def garbage(_ward, folder):
    (folder / "garbage.db").write_bytes(b"zzcanary" * 4096)
    return open_database(f"sqlite:///{folder / 'garbage.db'}")


def damaged(ward, folder):
    file = ward.copy_of_db(folder)
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * len(data[4096:])
    file.write_bytes(data)
    return open_database(f"sqlite:///{file}")


def refused(_ward, _folder):
    return open_database("postgresql+psycopg://nobody@127.0.0.1:1/none")


def unwritten(ward, folder):
    """Reads go well; what is sent cannot be recorded."""
    file = ward.copy_of_db(folder)
    with sqlite3.connect(file) as conn:
        conn.execute("DROP TABLE sent_card")
        conn.execute("DROP TABLE audit")
    conn.close()
    return open_database(f"sqlite:///{file}")


# Where a service reads the store; the others only have what they send recorded, and are 503 when that fails.
STORE_FAULTS = {away: 503, empty: 500, garbage: 500, damaged: 500, refused: 503, unwritten: 503}
READERS = {"breast-lesion", "imaging-findings", "order-imaging"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("fault", STORE_FAULTS, ids=lambda fault: fault.__name__)
def test_a_store_that_fails_is_5xx_also_where_it_only_remembers_what_was_sent(ward, tmp_path, service, fault):
    db = fault(ward, tmp_path)
    answer = ward.client(db=db, records=True).post(f"/cds-services/{service}", json=ward.call(service))
    db.dispose()
    assert said(answer)[0] == (STORE_FAULTS[fault] if service in READERS else 503), answer.text


@pytest.mark.slow
@pytest.mark.timed
def test_a_store_that_another_writer_holds_is_503(ward, tmp_path):
    file = ward.copy_of_db(tmp_path)
    db = open_database(f"sqlite:///{file}")
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    client = ward.client(db=db, records=True, budget_s=0.5)
    began = time.monotonic()
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda one: client.post(f"/cds-services/{one}", json=ward.call(one)), SERVICES))
    took = time.monotonic() - began
    holder.close()
    db.dispose()
    assert took < 3.0
    assert [said(answer)[0] for answer in answers] == [503] * len(SERVICES)
