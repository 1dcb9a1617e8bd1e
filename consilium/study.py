"""A study to its results: the one place where images, models and FHIR meet (DESIGN section 5).

Four steps, each recorded by the job engine, so that a crash repeats at most the one it interrupted. A step
takes what the step before returned and returns JSON. Everything that leaves is named after the job key, so
a repeated step writes the same identities again.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset

from clinical.clock import Clock
from clinical.errors import Fault, Unsupported
from clinical.finding import Reading, ReadingMask
from clinical.identity import PatientKey
from clinical.measure import findings_from_probability
from dicom_node.pixels import Decoder
from dicom_node.results import ENCODERS, ResultContext
from dicom_node.series import choose_images
from dicom_node.uids import derived_uid
from fhir_adapters.publish import find_or_add_patient, publish
from fhir_adapters.resources.reading import Evidence, ResultIds, StudyFacts, results_of
from model_runtime.engine import Engine
from model_runtime.transforms import prepare, restore
from record_store import deliveries, instances, readings
from record_store.audit import append as audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.reading_json import reading_from_json, reading_to_json

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
