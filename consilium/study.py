"""A study to its results: the one place where images, models and FHIR meet (DESIGN section 5).

Four steps, each recorded by the job engine, so that a crash repeats at most the one it interrupted. A step
takes what the step before returned and returns JSON. Everything that leaves is named after the job key, so
a repeated step writes the same identities again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import structlog

from clinical.clock import Clock
from dicom_node.pixels import Decoder
from model_runtime.engine import Engine
from record_store.blobs import Blobs
from record_store.database import Database

log = structlog.get_logger()
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyParts:
    """What the steps need. patient_id: derives a FHIR id from a patient key, with our secret."""

    db: Database
    blobs: Blobs
    engine: Engine
    decoder: Decoder
    now: Clock
    destinations: tuple[str, ...]
    patient_id: Any
    software_version: str
    model_timeout_s: float = 120.0


def job_key(study_uid: str, content_digest: str, model: str, version: str) -> str:
    """Return the name of the work: the same study, content, model and version is the same work."""
    return hashlib.sha256("\x1f".join((study_uid, content_digest, model, version)).encode()).hexdigest()
