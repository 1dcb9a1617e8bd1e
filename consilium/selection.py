"""Which images of a study a model reads. The worker's read step and `explain` both ask here, so they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.identity import IssuerTable, PatientKey
from consilium.readers import READERS, choose
from consilium.rules import NO_RULES, Rules, read_decision
from consilium.rules.clauses import ImageFacts
from consilium.rules.table import ReadDecision
from dicom_node.anatomy import BodyPartRule, with_anatomic_regions, with_site_knowledge
from dicom_node.header import Header, read_stored_header
from dicom_node.series import NOT_MEANT, eligible
from model_runtime.manifest import Manifest
from record_store.blobs import Blobs
from record_store.instances import InstanceRow

LATE = "it came late and is ignored by a rule of the site"
STRANGER = "it names another patient than its study"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A stored image, and what it and the site say about it."""

    row: InstanceRow
    header: Header


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that a model does not read. meant: whether it was made for it, or at least may have been."""

    image: SourceImage
    reason: str
    meant: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a model reads of a study, and what not."""

    read: tuple[SourceImage, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def reasons(self) -> list[str]:
        """Why images are left out."""
        return sorted({one.reason for one in self.left_out})

    @property
    def meant(self) -> bool:
        """Whether the study had an image for the model: without one, nobody waits for its reading."""
        return bool(self.read) or any(one.meant for one in self.left_out)


@dataclass(frozen=True, slots=True)
class Selecting:
    """Reads headers of stored images and chooses among them. issuers, body_parts, rules: as StudySteps."""

    blobs: Blobs
    issuers: IssuerTable
    body_parts: tuple[BodyPartRule, ...] = ()
    rules: Rules = NO_RULES

    def image(self, row: InstanceRow) -> SourceImage:
        """Read one image's header. Raises NotFound or IncorrectInput when it is gone or damaged."""
        with self.blobs.local_path(row.sha256) as path:
            header = with_anatomic_regions(read_stored_header(path), path)
        return SourceImage(row, with_site_knowledge(header, row.calling_ae, self.body_parts))

    def select(self, patient: PatientKey | None, images: Sequence[SourceImage], manifest: Manifest) -> Chosen:
        """Choose for one model. patient: the study's."""
        allowed: list[SourceImage] = []
        left_out: list[LeftOut] = []
        for image in images:
            named, decided = self.patient_of(image.header), self.decision(image, manifest.name)
            if named is None or named != patient:
                left_out.append(LeftOut(image, STRANGER, meant=True))
            elif not decided.reads:
                left_out.append(LeftOut(image, f"by the site's rules: {decided.why}", meant=False))
            else:
                allowed.append(image)
        by_uid = {image.header.sop_instance_uid: image for image in allowed}
        selection = eligible([image.header for image in allowed], choose(READERS, manifest).rule(manifest))
        left_out += [
            LeftOut(by_uid[header.sop_instance_uid], reason, meant=reason not in NOT_MEANT)
            for header, reason in selection.left_out
        ]
        return Chosen(tuple(by_uid[header.sop_instance_uid] for header in selection.read), tuple(left_out))

    def decision(self, image: SourceImage, model: str) -> ReadDecision:
        """Return what the site's rules say of one image and model."""
        header = image.header
        facts = ImageFacts(
            modality=header.modality,
            body_part=header.body_part,
            view=header.view_position,
            calling_ae=image.row.calling_ae,
            description=header.study_description,
        )
        return read_decision(self.rules, facts, model)

    def patient_of(self, header: Header) -> PatientKey | None:
        """Return whom an image names."""
        return self.issuers.from_dicom(header.issuer_of_patient_id, header.patient_id)
