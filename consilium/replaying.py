"""A result computed again: from the stored image or inputs, with the model of the same digest, and compared.

What is compared is the resource that the model made at the time with the resource that it would make now.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import ClinicalError, NotFound, PreconditionMissing
from clinical.finding import ModelRef, Reading
from clinical.said import Said
from clinical.uids import tracking_uid
from consilium.decoding import decode
from consilium.readers import READERS, Look, choose
from consilium.said_again import said_again
from consilium.study import packed, reading_id_for
from dicom_node.pixels import Decoder
from fhir_adapters.resources.imaging_study import StudyFacts
from fhir_adapters.resources.model_card import AiModel, ai_model
from fhir_adapters.resources.reading import result_ids, results_of
from fhir_adapters.resources.said import said_ids, said_results
from fhir_adapters.rest.ai.compare import Difference, differences
from fhir_adapters.rest.ai.origin import Origin, origin_of, reading_id_of
from model_runtime.drift import NoDrift
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest
from record_store.ai_results import said_of
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import instance_sha256
from record_store.readings import StoredReading, reading_by_id
from record_store.resource_history import version

MASK = "the pixels of the segmentation"
Json = dict[str, Any]
Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """result: reference of the version that was compared. differences: empty when the same was computed again."""

    result: str
    model: ModelRef
    device: str
    input_sha256: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Replaying:
    """See the module."""

    db: Database
    blobs: Blobs
    engine: Engine
    decoder: Callable[[], Decoder]
    now: Clock
    model_timeout_s: float = 120.0

    def run(self, resource_type: str, resource_id: str) -> Replayed:
        """Compute a result again. Raises NotFound for what no model made, PreconditionMissing for what is gone."""
        with self.db.read() as conn:
            origin = origin_of(conn, resource_type, resource_id)
            said = said_of(conn, str(origin.provenance["id"]))
            reading = None if said is not None else self._reading(conn, origin)
        if said is not None:
            model = said.model
            manifest = self._manifest(model)
            computed = self._said_again(said, manifest, origin, resource_id)
            found = _differences(origin.body, computed)
        elif reading is not None:
            model = reading.reading.model
            found = self._image_again(reading, self._manifest(model), origin, resource_id)
        else:
            raise NotFound("what the model read is not kept here")
        result = f"{resource_type}/{resource_id}/_history/{origin.made}"
        return Replayed(result, model, origin.device, origin.input_sha256, tuple(found))

    def _reading(self, conn: Connection, origin: Origin) -> StoredReading | None:
        reading_id = reading_id_of(conn, origin)
        return None if reading_id is None else reading_by_id(conn, reading_id)

    def _manifest(self, model: ModelRef) -> Manifest:
        """Return the manifest of just this model. Raises PreconditionMissing with what is here instead."""
        try:
            manifest = self.engine.manifest(model.name)
        except ClinicalError:
            raise PreconditionMissing(f"model {model.label} is not in the models folder") from None
        if manifest.ref != model:
            wanted, there = (f"{one.label} (manifest sha256 {one.digest[:12]})" for one in (model, manifest.ref))
            raise PreconditionMissing(f"model {wanted} is not in the models folder, but {there}")
        return manifest

    def _image_again(
        self, stored: StoredReading, manifest: Manifest, origin: Origin, resource_id: str
    ) -> list[Difference]:
        sha256 = self._image_of(stored, manifest)
        reader = choose(READERS, manifest)
        try:
            with self.blobs.local_path(sha256) as path:
                decoded = decode(self.db, self.decoder(), sha256, path, self.now())
        except NotFound:
            raise PreconditionMissing("the image that the model read is no longer stored") from None
        record = lambda: self._record(stored.reading)  # noqa: E731 - read only when there is a lesion
        look = Look(manifest, decoded, self.engine, self.model_timeout_s, record, stored.created_at, NoDrift())
        reading, mask = reader.read(look)
        was = stored.reading  # an earlier image is no part of what the model read
        again = replace(reading, degraded=was.degraded, comparison=was.comparison)
        computed = _told(again, stored, ai_model(manifest, ""), origin)
        mine = next((one for one in computed if one["id"] == resource_id), None)
        found = _differences(origin.body, mine)
        packed_now = hashlib.sha256(packed(mask)).hexdigest()
        return found if packed_now == stored.mask_sha256 else [*found, _of_masks(stored.mask_sha256, packed_now)]

    def _image_of(self, stored: StoredReading, manifest: Manifest) -> str:
        """Return the digest of the image. Raises PreconditionMissing when other bytes stand under its UID now."""
        with self.db.read() as conn:
            sha256 = instance_sha256(conn, stored.reading.image.sop_instance_uid)
        if sha256 is None or reading_id_for(manifest, sha256) != stored.reading_id:
            raise PreconditionMissing("the image that the model read is no longer stored")
        return sha256

    def _record(self, reading: Reading) -> list[Resource]:
        """Return the versions of the record's resources that were used then."""
        named = dict.fromkeys(
            used.source for lesion in reading.lesions for used in lesion.inputs if used.source is not None
        )
        found: list[Resource] = []
        with self.db.read() as conn:
            for source in named:
                place, _, number = source.partition("/_history/")
                kind, _, ident = place.partition("/")
                one = version(conn, kind, ident, int(number or 1))
                if one is None or one.deleted:
                    raise PreconditionMissing("a resource of the record that the model read is no longer here")
                found.append(orjson.loads(one.stored.body))
        return found

    def _said_again(self, said: Said, manifest: Manifest, origin: Origin, resource_id: str) -> Json | None:
        again = said_again(self.engine, said, manifest, self.model_timeout_s)
        patient_id = _patient_of(origin)
        ids = said_ids(again, patient_id)
        made = said_results(again, ids=ids, patient_id=patient_id, about=ai_model(manifest, ""))
        return next((one for one in made if one["id"] == resource_id), None)


def _told(reading: Reading, stored: StoredReading, about: AiModel, origin: Origin) -> Sequence[Json]:
    """Return the resources of a reading in the chart, with the orders and the times of the stored result."""
    body = origin.body
    replaced = [one["valueReference"]["reference"] for one in body.get("extension", ()) if "valueReference" in one]
    return results_of(
        reading,
        ids=result_ids(reading, reading_id=stored.reading_id),
        tracking_uids=[tracking_uid(stored.reading_id, one.number) for one in reading.findings],
        patient_id=_patient_of(origin),
        issued=stored.created_at,
        study=StudyFacts(started=body.get("effectiveDateTime")),
        evidence=(),
        about=about,
        reading_id=stored.reading_id,
        replaces=replaced[0].removeprefix("DiagnosticReport/") if replaced else None,
        based_on=body.get("basedOn", ()),
    )


def _patient_of(origin: Origin) -> str:
    return str(origin.body["subject"]["reference"]).removeprefix("Patient/")


def _differences(stored: Json, computed: Json | None) -> list[Difference]:
    if computed is None:
        return [Difference(str(stored["resourceType"]), "(there)", "(the model does not say it any more)")]
    plain: Json = orjson.loads(orjson.dumps(computed))
    return differences(stored, plain)


def _of_masks(stored: str, computed: str) -> Difference:
    return Difference(MASK, f"sha256 {stored[:12]}", f"sha256 {computed[:12]}")
