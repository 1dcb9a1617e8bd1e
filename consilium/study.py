"""A study to its results: the one place where images, models and FHIR meet (DESIGN section 5).

Four steps, each recorded by the job engine, so that a crash repeats at most the one it interrupted. A step
takes what the step before returned and returns JSON. Everything that leaves is named after the job key, so
a repeated step writes the same identities again.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset

from clinical.clock import Clock
from clinical.errors import Fault, PreconditionMissing, Unsupported
from clinical.finding import Reading, ReadingMask
from clinical.identity import PatientKey
from clinical.measure import findings_from_probability
from dicom_node.pixels import DecodedImage, Decoder
from dicom_node.results import ENCODERS, ResultContext
from dicom_node.series import choose_images
from dicom_node.uids import derived_uid
from fhir_adapters.publish import find_or_add_patient, publish
from fhir_adapters.resources.reading import results_of
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest
from model_runtime.transforms import prepare, restore
from record_store import deliveries, readings
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import InstanceRow, instances_of, study_row
from record_store.reading_json import from_json, to_json

log = structlog.get_logger()
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyParts:
    """What the steps need.

    destinations: names of the archives that results go back to.
    patient_id: derives a FHIR id from a patient key, with our secret.
    observe: told (step, seconds).
    """

    db: Database
    blobs: Blobs
    engine: Engine
    decoder: Decoder
    now: Clock
    destinations: tuple[str, ...]
    patient_id: Callable[[PatientKey], str]
    software_version: str
    model_timeout_s: float = 120.0
