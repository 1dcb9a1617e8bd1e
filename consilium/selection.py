"""Which images of a study a model reads. The worker's read step and `explain` both ask here, so they agree."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinical.identity import IssuerTable, PatientKey
from consilium.readers import READERS, choose
from dicom_node.anatomy import BodyPartRule, with_anatomic_regions, with_site_knowledge
from dicom_node.header import Header, read_stored_header
from dicom_node.series import Selection, eligible
from model_runtime.manifest import Manifest
from record_store.blobs import Blobs
from record_store.instances import InstanceRow

STRANGER = "it names another patient than its study"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A stored image, and what it and the site say about it."""

    row: InstanceRow
    header: Header


@dataclass(frozen=True, slots=True)
class Selecting:
    """Reads headers of stored images and chooses among them. issuers, body_parts: as StudySteps."""

    blobs: Blobs
    issuers: IssuerTable
    body_parts: tuple[BodyPartRule, ...] = ()

    def image(self, row: InstanceRow) -> SourceImage:
        """Read one image's header. Raises NotFound or IncorrectInput when it is gone or damaged."""
        with self.blobs.local_path(row.sha256) as path:
            header = with_anatomic_regions(read_stored_header(path), path)
        return SourceImage(row, with_site_knowledge(header, row.calling_ae, self.body_parts))

    def select(
        self, patient: PatientKey | None, images: Sequence[SourceImage], manifest: Manifest
    ) -> tuple[list[SourceImage], list[tuple[SourceImage, str]]]:
        """Return what the model reads, and the others with the reason. patient: the study's."""
        same: list[SourceImage] = []
        strangers: list[SourceImage] = []
        for image in images:
            named = self.patient_of(image.header)
            (same if named is not None and named == patient else strangers).append(image)
        selection = eligible([image.header for image in same], choose(READERS, manifest).rule(manifest))
        return _by_image(same, selection, strangers)

    def patient_of(self, header: Header) -> PatientKey | None:
        """Return whom an image names."""
        return self.issuers.from_dicom(header.issuer_of_patient_id, header.patient_id)


def _by_image(
    same: Sequence[SourceImage], selection: Selection, strangers: Sequence[SourceImage]
) -> tuple[list[SourceImage], list[tuple[SourceImage, str]]]:
    by_uid = {one.header.sop_instance_uid: one for one in same}
    left_out = [(by_uid[header.sop_instance_uid], reason) for header, reason in selection.left_out]
    return (
        [by_uid[header.sop_instance_uid] for header in selection.read],
        left_out + [(one, STRANGER) for one in strangers],
    )
