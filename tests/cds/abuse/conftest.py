"""One patient, the canary, for whom every service has a card; and an EHR on loopback that does what it is told."""

import json
import socket
import sqlite3
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds.call_audit import AuditOfCalls
from cds.feedback.sent import SentCardLog
from cds.http import blueprint
from cds.links import LinkSigner
from cds.service import CdsContext
from cds.services import SERVICES
from cds.testing import hook_body
from clinical.breast_codes import BREAST_LEXICON
from clinical.codes import LOINC, LONG_AXIS, LUNG, NODULE_OF_LUNG, SHORT_AXIS
from clinical.finding import Finding, FindingTerms, ImageRef, Measurement, ModelRef, Reading
from clinical.identity import PatientKey
from clinical.image import PixelSpacing, SpacingOrigin
from clinical.pseudonym import Pseudonyms
from model_runtime.tasks.lesion import DIAGNOSIS
from model_runtime.testing import CannedEngine, forecast_document, lesion_document, manifest_of, risk_document
from record_store.database import Database
from record_store.readings import put_reading
from record_store.testing import database

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
HOSPITAL = "urn:oid:1.2.3"
WHO = "zzcanary-1"
TOKEN = "zzcanary.quillon.token"
MODELS = {"diabetes-risk": "diabetes-risk", "heart-rate": "heart-rate-trend", "breast-lesion": "breast-lesion"}
DOCUMENTS = {
    "diabetes-risk": risk_document,
    "heart-rate-trend": forecast_document,
    "breast-lesion": lesion_document,
}
Json = dict[str, Any]


def observation(system: str, code: str, ident: str, ago: timedelta = timedelta(days=9), **more: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": ident,
        "status": "final",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": f"Patient/{WHO}"},
        "effectiveDateTime": (NOW - ago).isoformat(),
        **more,
    }


def quantity(value: float, unit: str) -> Json:
    return {"valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit}}


def bundle(*resources: Json, **more: Any) -> Json:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": one} for one in resources],
        **more,
    }


PATIENT: Json = {
    "resourceType": "Patient",
    "id": WHO,
    "identifier": [{"system": HOSPITAL, "value": "ZZCANARY-4711"}],
    "name": [{"family": "Zzcanary", "given": ["Quillon"]}],
    "gender": "male",
    "birthDate": "1969-05-01",
}
RATES = [
    observation(LOINC, "8867-4", f"h{ago}", timedelta(minutes=ago), **quantity(60 + ago % 25, "/min"))
    for ago in (*range(130), *range(130, 13 * 60, 20))
]
BODY_MASS = bundle(observation(LOINC, "39156-5", "b1", **quantity(31.2, "kg/m2")))
ORDER = {
    "resourceType": "ServiceRequest",
    "id": "s1",
    "status": "draft",
    "intent": "order",
    "subject": {"reference": f"Patient/{WHO}"},
    "code": {"coding": [{"system": LOINC, "code": "36643-5"}]},
}
DESCRIPTOR = observation(
    BREAST_LEXICON,
    "birads",
    "d1",
    valueCodeableConcept={"coding": [{"system": BREAST_LEXICON, "code": "birads-5"}]},
)
# What each service is sent beside the Patient.
CHARTS: Mapping[str, Json] = {
    "breast-lesion": {"descriptors": bundle(DESCRIPTOR)},
    "diabetes-risk": {
        "bmi": BODY_MASS,
        **dict.fromkeys(
            ("waist", "blood-pressure", "glucose", "insulin", "health-and-habits", "family-history"), bundle()
        ),
    },
    "heart-rate": {"heart-rate": bundle(*RATES), "steps": bundle()},
    "imaging-findings": {},
    "order-imaging": {},
}


def call_of(service: str, prefetch: Json | None = None, **more: Any) -> Json:
    """Return a call that is answered with a card; `prefetch` replaces the whole of it."""
    chart = {"patient": PATIENT, **CHARTS[service]} if prefetch is None else prefetch
    body = hook_body(WHO, prefetch=chart, **more)
    if service == "order-imaging":
        body["hook"] = "order-sign"
        body["context"]["draftOrders"] = bundle(ORDER)
    return body


def good_answers() -> dict[Any, Any]:
    """Return what each model says when nothing is wrong with it."""

    def risk(inputs: Mapping[str, Any]) -> Json:
        return {"probability": np.full((len(inputs["features"]), 1), 0.6)}

    def lesion(inputs: Mapping[str, Any]) -> Json:
        said = np.full((len(inputs["record"]), 1), 0.7, np.float32)
        return {"probability": said, "record_probability": said}

    def forecast(inputs: Mapping[str, Any]) -> Json:
        rows = len(inputs["recent"])
        change = np.repeat(np.array([[[-0.05, 0.0, 0.05]] * 3], np.float32), rows, axis=0)
        return {"change": change, "trend": np.full((rows, 3, 3), 1 / 3, np.float32)}

    return {"diabetes-risk": risk, ("breast-lesion", DIAGNOSIS): lesion, "heart-rate-trend": forecast}


def engine(answers: Mapping[Any, Any] | None = None, without: str | None = None) -> CannedEngine:
    """Return the models. answers: replace those of the same name. without: a model that is not there."""
    manifests = {name: manifest_of(document()) for name, document in DOCUMENTS.items() if name != without}
    said = good_answers() | dict(answers or {})
    return CannedEngine({key: one for key, one in said.items() if without not in {key, key[0]}}, manifests)


class Ward:
    """db: holds one reading of a lung nodule of the canary. client: of an app with nothing but the hooks."""

    who, token, patient, models, now = WHO, TOKEN, PATIENT, MODELS, NOW

    def __init__(self, db: Database) -> None:
        self.db = db
        self.call, self.engine, self.good_answers = call_of, engine, good_answers
        self.http, self.record, self.bundle, self.observation = http, record, bundle, observation

    def copy_of_db(self, folder: Path) -> Path:
        """Return a database file with all that this one holds."""
        with sqlite3.connect(str(self.db._url.database)) as source, sqlite3.connect(folder / "copy.db") as copy:
            source.backup(copy)
        source.close()
        copy.close()
        return folder / "copy.db"

    def client(self, **changes: Any) -> FlaskClient:
        names = Pseudonyms(b"k" * 32)
        parts: Json = {
            "engine": engine(),
            "db": self.db,
            "now": lambda: NOW,
            "links": LinkSigner(b"k" * 32, "https://cds.example", lambda: NOW),
            "new_uuid": lambda: str(uuid.uuid4()),
            "budget_s": 30.0,
            **changes,
        }
        if parts.pop("records", False):
            parts |= {"sent": SentCardLog(lambda: NOW, names), "audit": AuditOfCalls(lambda: NOW)}
        app = Flask("ward")
        app.register_blueprint(blueprint(SERVICES, CdsContext(**parts)))
        return app.test_client()


def read_nodule(db: Database) -> None:
    """Put the reading of a lung nodule."""
    outline = ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    axes = Measurement(LONG_AXIS, 12.3, "mm"), Measurement(SHORT_AXIS, 7.0, "mm")
    found = Finding(1, 0.9, (10.0, 10.0), (0, 0, 20, 20), outline, *axes)
    image = ImageRef(
        "1.2", "1.2.1", "1.2.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "DX", 64, 64,
        PixelSpacing(0.14, 0.14, SpacingOrigin.PIXEL_SPACING),
    )  # fmt: skip
    terms = FindingTerms(NODULE_OF_LUNG, NODULE_OF_LUNG, NODULE_OF_LUNG, LUNG, "lung nodule")
    reading = Reading(image, ModelRef("lung-nodule", "0.1.0", "a" * 64), terms, 0.5, (found,))
    with db.write() as conn:
        put_reading(
            conn, reading, reading_id="r1", job_key="j1", patient=PatientKey(HOSPITAL, "ZZCANARY-4711"),
            mask_sha256="0" * 64, now=NOW - timedelta(days=2),
        )  # fmt: skip


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    db = database(tmp_path_factory.mktemp("ward"))
    read_nodule(db)
    yield Ward(db)
    db.dispose()


Send = Callable[[bytes], None]
Act = Callable[[str, Send], object]
RESET = "reset"  # returned by an act: the connection ends with a reset


class Ehr:
    """An EHR's FHIR server: `act(path and query, send)` answers each request, or does something else with it.

    asked: the paths that came; tokens: what was shown with them.
    """

    def __init__(self, act: Act) -> None:
        self.act, self.asked, self.tokens = act, list[str](), set[str]()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.base = f"http://127.0.0.1:{self._socket.getsockname()[1]}/fhir"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    got = connection.recv(65536)
                    if not got:
                        return
                    head += got
                path = head.split(b" ")[1].decode().removeprefix("/fhir/")
                self.asked.append(path)
                self.tokens |= {TOKEN} if TOKEN.encode() in head else set()
                if self.act(path, connection.sendall) == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                return

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait in accept(), which closing would not
        self._thread.join()
        self._socket.close()


def http(body: bytes | Json, status: str = "200 OK", kind: str = "application/fhir+json", **headers: str) -> bytes:
    """Return an answer as bytes; `Content_Length` and the like replace the usual headers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    shown = {"Content_Type": kind, "Content_Length": str(len(data)), "Connection": "close"} | headers
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in shown.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def record(path: str) -> Json:
    """Return what an honest EHR knows."""
    if path.startswith("Patient/"):
        return PATIENT
    for needle, found in (("8867-4", CHARTS["heart-rate"]["heart-rate"]), ("39156-5", BODY_MASS)):
        if needle in path:
            return dict(found)
    return bundle(DESCRIPTOR) if "lexicon" in path else bundle()


@pytest.fixture
def ehr_of() -> Iterator[Callable[[Act], Ehr]]:
    """ehr_of(act) -> a running EHR."""
    running: list[Ehr] = []

    def start(act: Act) -> Ehr:
        running.append(Ehr(act))
        return running[-1]

    yield start
    for one in running:
        one.close()
