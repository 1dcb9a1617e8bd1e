"""One model over one study, for nobody to see: the same images, decoder and reader as a live job, and no result.

Nothing here is called by a live job, and nothing that a live job reads is written: what an image does to its
decoder or to the model is this model's failure alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import structlog

from clinical.clock import Clock
from clinical.errors import ClinicalError, Unsupported
from consilium.decoding import SET_ASIDE
from consilium.readers import READERS, Look, Reader, Resource, choose
from consilium.selection import LATE, Selecting, SourceImage
from consilium.shadow.models import OneModel
from consilium.shadow.subgroups import subgroup_of
from consilium.study import packed, reading_id_for
from dicom_node.pixels import DecodedImage, Decoder
from fhir_adapters.records import record_of
from model_runtime.drift import NoDrift
from record_store import quarantine, shadow_readings, shadows
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.instances import CLOSED, StudyRow, study_row
from record_store.shadow_readings import ShadowReading
from record_store.shadows import Outcome
from record_store.study_history import objects_to_read

UNREADABLE = "its header cannot be read"
NOT_CLOSED = "the study is not closed: it is still arriving, or held"
log = structlog.get_logger()


class LeftOff(Exception):
    """Somebody wants the process to end: what was read is kept, and the rest is read another time."""


@dataclass(frozen=True, slots=True)
class ShadowReader:
    """What reading in shadow needs. owner: names this process. goes_on: waits while live jobs wait; False: end.

    selecting: holds the site's rules, as for the live models.
    """

    db: Database
    selecting: Selecting
    blobs: Blobs
    decoder: Callable[[], Decoder]
    now: Clock
    owner: str
    goes_on: Callable[[], bool] = lambda: True
    model_timeout_s: float = 120.0

    def read(self, model: OneModel, study_uid: str) -> Outcome | None:
        """Read a study, or what is new of it; None when it is read already or another process has it.

        Raises LeftOff when `goes_on` says so; Busy when the database is away; PreconditionMissing when other files
        read under this version meanwhile.
        """
        ref = model.manifest().ref
        if not self.goes_on():  # before it is taken: who waits long would lose it to another process
            raise LeftOff
        with self.db.write(durable=False) as conn:
            if not shadows.take(conn, ref, study_uid, self.owner, self.now()):
                return None
        try:
            outcome = self._outcome(model, study_uid)
        except (LeftOff, ClinicalError, KeyboardInterrupt, SystemExit):
            with self.db.write(durable=False) as conn:
                shadows.give_back(conn, ref, study_uid, self.owner, self.now())
            raise
        except Exception as problem:  # noqa: BLE001 - tried for ever, it would keep all others from being read
            reason = f"reading the study raised {type(problem).__name__}"
            outcome = Outcome(self._read_before(model, study_uid), {}, {reason: 1})
        with self.db.write(durable=False) as conn:
            shadows.settle(conn, ref, study_uid, self.owner, outcome, self.now())
            append_audit(
                conn,
                at=self.now(),
                action="shadow-read",
                outcome=shadows.FAILED if outcome.failures else shadows.DONE,
                actor="shadow",
                subject=digest(study_uid),
                detail={"model": ref.label, "images": outcome.images, "failed": sum(outcome.failures.values())},
            )
        log.info("study read in shadow", study=digest(study_uid), model=ref.label, count=outcome.images)
        return outcome

    def _outcome(self, model: OneModel, study_uid: str) -> Outcome:
        with self.db.read() as conn:
            study = study_row(conn, study_uid)
            rows, ignored = objects_to_read(conn, study_uid)
        if study is None or study.state != CLOSED:
            return Outcome(self._read_before(model, study_uid), {}, {NOT_CLOSED: len(rows)})
        manifest, images = model.manifest(), []
        left_out = Counter({LATE: ignored} if ignored else {})
        for row in rows:
            try:
                images.append(self.selecting.image(row))
            except ClinicalError:
                left_out[UNREADABLE] += 1
        chosen = self.selecting.select(study.patient, images, manifest)
        left_out += Counter(one.reason for one in chosen.left_out)
        ids = {reading_id_for(manifest, image.row.sha256): image for image in chosen.read}
        with self.db.read() as conn:
            known = shadow_readings.known(conn, ids)
        failures: Counter[str] = Counter()
        new = [(one, image) for one, image in ids.items() if one not in known]
        read = sum(self._image(model, study, one, image, left_out, failures) for one, image in new)
        return Outcome(len(known) + read, dict(left_out), dict(failures))

    def _read_before(self, model: OneModel, study_uid: str) -> int:
        ref = model.manifest().ref
        with self.db.read() as conn:
            return shadow_readings.images_in(conn, study_uid, ref.name, ref.version)

    def _image(
        self,
        model: OneModel,
        study: StudyRow,
        reading_id: str,
        image: SourceImage,
        left_out: Counter[str],
        failures: Counter[str],
    ) -> bool:
        """Read and store one image and return True, or count why not."""
        if not self.goes_on():
            raise LeftOff
        manifest = model.manifest()
        reader = choose(READERS, manifest)
        try:
            made = self._made(model, reader, study, reading_id, image)
        except Unsupported as reason:
            (left_out if reader.leaves_out else failures)[reason.message] += 1
            return False
        except ClinicalError as problem:
            failures[problem.message] += 1
            return False
        except Exception as problem:  # noqa: BLE001 - a new model may do anything; its study says so, others are read
            # The text may quote a patient's data; the kind cannot.
            failures[f"the reader raised {type(problem).__name__}"] += 1
            return False
        with self.db.write(durable=False) as conn:
            shadows.know(conn, manifest.ref)  # it may have been forgotten while we read, and taken by other files
            shadow_readings.put(conn, made)
            shadows.keep(conn, manifest.ref, study.study_uid, self.owner, self.now())
        return True

    def _made(
        self, model: OneModel, reader: Reader, study: StudyRow, reading_id: str, image: SourceImage
    ) -> ShadowReading:
        decoded = self._decoded(image)
        record = lambda: self._record(study)  # noqa: E731 - read only when there is a lesion
        look = Look(model.manifest(), decoded, model, self.model_timeout_s, record, self.now(), NoDrift())
        began = perf_counter()
        reading, mask = reader.read(look)
        seconds = perf_counter() - began
        return ShadowReading(
            reading_id=reading_id,
            reading=replace(reading, degraded=bool(look.makeshift)),
            mask=packed(mask),
            seconds=round(seconds, 4),
            subgroup=subgroup_of(decoded.header),
            created_at=self.now(),
        )

    def _decoded(self, image: SourceImage) -> DecodedImage:
        """Decode an image. What ends the decoder is not counted against the image: live jobs ask that count."""
        with self.db.read() as conn:
            if quarantine.tries(conn, image.row.sha256) >= quarantine.MOST_TRIES:
                raise Unsupported(SET_ASIDE)
        with self.blobs.local_path(image.row.sha256) as path:
            return self.decoder().read(path)

    def _record(self, study: StudyRow) -> list[Resource]:
        with self.db.read() as conn:
            return list(record_of(conn, study.patient)) if study.patient else []
