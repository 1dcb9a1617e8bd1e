"""From a reading to the DICOM objects that say it, in the blobs: kinds, names, revisions."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from clinical.display import for_display
from clinical.errors import ClinicalError
from clinical.finding import Reading, ReadingMask
from clinical.uids import derived_uid, tracking_uid
from dicom_node.pixels import Decoder
from record_store import readings
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import study_row
from record_store.reading_json import from_json
from record_store.readings import JobRow, StoredReading

if TYPE_CHECKING:
    from dicom_node.results import Encoder, ResultContext

MANUFACTURER = "Consilium"
USUAL_RESULTS = ("SEG", "SR")
PICTURE_PX = 2048  # the longer side of the image in a picture with outlines: to look at, not to measure in
Json = dict[str, Any]


# How the libraries that write objects say that an image lacks something; their texts may quote it.
_NOT_WRITTEN = (AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of one reading. refused: kind and why, of those that could not be made."""

    objects: list[Json]
    refused: list[Json]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Writes readings as objects of these kinds (names of `dicom_node.results.ENCODERS`)."""

    db: Database
    blobs: Blobs
    decoder: Decoder
    kinds: tuple[str, ...]
    software_version: str
    device_serial: str

    def run(self, job: JobRow, item: Json) -> Encoded:
        """Write the objects of one reading to the blobs; return what `Publishing` needs to know of each.

        A kind beside the usual ones that cannot be made of this image is left out, with the reason: the others are
        not lost with it. Raises what SEG and SR raise.
        """
        reading = from_json(item["reading"].encode())
        mask = unpacked(self.blobs.get(item["mask"]))
        with self.blobs.local_path(item["image"]) as path:
            source = dcmread(path, stop_before_pixels=True)
        # highdicom takes most of a second to import: the worker is ready before that, see `warm`.
        from dicom_node.results import encoders_of  # noqa: PLC0415

        encoders = encoders_of(self.kinds)
        picture = self._picture(item["image"]) if any(one.needs_picture for one in encoders) else None
        earlier = self._earlier(job, reading, item["reading_id"])
        encoded = Encoded([], [])
        for encoder in encoders:
            context = self._context(job, reading, item["reading_id"], encoder, earlier)
            if encoder.needs_picture:
                context = replace(context, picture=picture)
            try:
                made = encoder.encode(reading, mask, source, context)
            except (ClinicalError, *_NOT_WRITTEN) as problem:
                if encoder.kind in USUAL_RESULTS:
                    raise
                encoded.refused.append({"kind": encoder.kind, "why": _why(problem)})
                continue
            if made is not None:
                encoded.objects.append(self._stored(encoder.kind, item["reading_id"], made))
        return encoded

    def _stored(self, kind: str, reading_id: str, made: Dataset) -> Json:
        return {
            "kind": kind,
            "reading_id": reading_id,
            "sop": str(made.SOPInstanceUID),
            "sop_class": str(made.SOPClassUID),
            "series": str(made.SeriesInstanceUID),
            "modality": str(made.Modality),
            "sha256": self.blobs.put(_part10(made)).sha256,
        }

    def _picture(self, sha256: str) -> NDArray[np.uint8]:
        with self.blobs.local_path(sha256) as path:
            return for_display(self.decoder.read(path).image, PICTURE_PX)

    def _earlier(self, job: JobRow, reading: Reading, reading_id: str) -> list[StoredReading]:
        """Return what this model has said of this image before, oldest first: another version, other bytes."""
        with self.db.read() as conn:
            study = study_row(conn, job.study_uid)
            if study is None or study.patient is None:
                return []
            known = readings.readings_of_image(conn, study.patient, reading.image.sop_instance_uid, job.model)
        return [one for one in known if one.reading_id != reading_id and one.created_at <= job.created_at]

    def _context(
        self,
        job: JobRow,
        reading: Reading,
        reading_id: str,
        encoder: "Encoder",
        earlier: Sequence[StoredReading],
    ) -> "ResultContext":
        from dicom_node.results import Predecessor, ResultContext  # noqa: PLC0415

        before = _uids(encoder.kind, earlier[-1].reading_id) if earlier else None
        if before is not None:
            with self.db.read() as conn:  # of another kind than those made then there is nothing to replace
                before = before if readings.result_object(conn, before[0]) else None
        sop_instance_uid, series_instance_uid = _uids(encoder.kind, reading_id)
        return ResultContext(
            sop_instance_uid=sop_instance_uid,
            series_instance_uid=series_instance_uid,
            series_number=encoder.series_number,
            tracking_uids={one.number: tracking_uid(reading_id, one.number) for one in reading.findings},
            manufacturer=MANUFACTURER,
            software_version=self.software_version,
            device_serial=self.device_serial,
            created=job.created_at,
            revision=len(earlier) + 1,
            predecessor=Predecessor(*before) if before else None,
        )


def _uids(kind: str, reading_id: str) -> tuple[str, str]:
    """Return the SOP and series instance UID that a reading's result of this kind always has."""
    return derived_uid(kind, reading_id), derived_uid(kind, "series", reading_id)


def _why(problem: Exception) -> str:
    if isinstance(problem, ClinicalError):
        return problem.message
    return f"it cannot be written for this image ({type(problem).__name__})"


def unpacked(data: bytes) -> ReadingMask:
    """Return the mask that `consilium.study.packed` wrote."""
    return ReadingMask(np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False))


def _part10(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
