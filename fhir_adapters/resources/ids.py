"""Ids of our own resources follow from what they are about: the same work writes the same identities again."""

import hashlib
from uuid import UUID

from clinical.finding import ModelRef


def derived(*parts: str) -> str:
    """Return an id that follows from `parts` and from nothing else: a UUID, which leads back to none of them."""
    return str(UUID(bytes=hashlib.sha256("\x1f".join(parts).encode()).digest()[:16], version=5))


def device_id(model: ModelRef) -> str:
    """Return the id of a model version's Device."""
    return derived("device", model.name, model.version, model.digest)


def model_card_id(model: ModelRef) -> str:
    """Return the id of the DocumentReference of a model version's card."""
    return derived("model-card", model.name, model.version, model.digest)


def imaging_study_id(study_uid: str) -> str:
    """Return the id of a study's ImagingStudy."""
    return derived("imaging-study", study_uid)


def task_id(job_key: str) -> str:
    """Return the id of an image job's Task."""
    return derived("task", job_key)
