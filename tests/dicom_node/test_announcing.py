"""IAN and MPPS: what a peer lists is written down before Success; what it gets wrong has the standard's status."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, XRayRadiationDoseSRStorage
from pynetdicom import AE
from pynetdicom.sop_class import InstanceAvailabilityNotification, ModalityPerformedProcedureStep
from sqlalchemy import select

from clinical.errors import Busy
from consilium.witnessing import Witness
from dicom_node.instance_availability import availability_service
from dicom_node.modality_performed_procedure_step import performed_step_service
from record_store.announcements import COMPLETED, DISCONTINUED, IN_PROGRESS, Announced, announced_to
from record_store.tables import announced_instance, audit

pytestmark = pytest.mark.slow  # opens associations
NOW = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)
IAN, MPPS = InstanceAvailabilityNotification, ModalityPerformedProcedureStep
STUDY, STEP = "1.2.3", "1.2.3.7"


def data_set(**attributes) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def reference(uid, sop_class=ComputedRadiographyImageStorage, **more) -> Dataset:
    return data_set(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid, **more)


def notification(*objects, **changes) -> Dataset:
    series = data_set(SeriesInstanceUID="1.2.3.4", ReferencedSOPSequence=list(objects))
    attributes = {
        "StudyInstanceUID": STUDY,
        "ReferencedPerformedProcedureStepSequence": [],
        "ReferencedSeriesSequence": [series],
    } | changes
    return data_set(**{keyword: value for keyword, value in attributes.items() if value is not None})


def available(uid, availability="ONLINE", **more) -> Dataset:
    return reference(uid, InstanceAvailability=availability, RetrieveAETitle="ARCHIVE", **more)


def step(status="IN PROGRESS", studies=(STUDY,), series=()) -> Dataset:
    scheduled = [data_set(StudyInstanceUID=uid) for uid in studies]
    return data_set(
        PerformedProcedureStepStatus=status,
        ScheduledStepAttributesSequence=scheduled,
        PerformedSeriesSequence=list(series),
    )


def series_of(*images, others=()) -> Dataset:
    return data_set(
        SeriesInstanceUID="1.2.3.4",
        ReferencedImageSequence=list(images),
        ReferencedNonImageCompositeSOPInstanceSequence=list(others),
    )


class Peer:
    """A modality on one association."""

    def __init__(self, association) -> None:
        self.association = association

    def notifies(self, ds, uid="1.2.3.6"):
        status, _ = self.association.send_n_create(ds, IAN, uid)
        return status.Status

    def begins(self, ds, uid=STEP):
        status, _ = self.association.send_n_create(ds, MPPS, uid)
        return status.Status

    def sets(self, ds, uid=STEP):
        status, _ = self.association.send_n_set(ds, MPPS, uid)
        return status


@contextmanager
def calling(port):
    ae = AE(ae_title="CT1")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    ae.requested_contexts = []
    ae.add_requested_context(IAN)
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", port, ae_title="CONSILIUM")
    assert association.is_established
    try:
        yield Peer(association)
    finally:
        association.release()


@pytest.fixture
def peer(node):
    witness, takes = Witness(node.db, lambda: NOW), {ComputedRadiographyImageStorage}
    services = [make(witness, takes, lambda: "2.25.1") for make in (availability_service, performed_step_service)]
    node.start(services=services)
    with calling(node.port) as one:
        yield one


def announced(node, study=STUDY):
    with node.db.read() as conn:
        return announced_to(conn, [study]).get(study, ())


def listed(node):
    with node.db.read() as conn:
        return sorted(conn.execute(select(announced_instance.c.sop_instance_uid)).scalars())


def test_a_notification_lists_what_can_be_had_and_what_the_node_takes(node, peer) -> None:
    said = notification(
        available("1.1"),
        available("1.2", "NEARLINE"),
        available("1.3", "UNAVAILABLE"),
        reference("1.4", XRayRadiationDoseSRStorage, InstanceAvailability="ONLINE"),
    )
    assert peer.notifies(said) == 0x0000
    assert announced(node) == (Announced("IAN", COMPLETED, "CT1", 2, 2),)
    assert listed(node) == ["1.1", "1.2"]
    with node.db.read() as conn:
        (row,) = conn.execute(select(audit).where(audit.c.action == "study-announced")).all()
    assert (row.actor, row.outcome) == ("ae:CT1", COMPLETED)
    assert STUDY not in row.detail


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (notification(available("1.1"), StudyInstanceUID=None), 0x0120),
        (notification(available("1.1"), StudyInstanceUID="../etc"), 0x0106),
        (notification(available("1.1"), ReferencedSeriesSequence=[]), 0x0120),
        (notification(reference("1.1")), 0x0120),
        (notification(available("1.1", "SOMEWHERE")), 0x0106),
    ],
)
def test_a_notification_that_lacks_what_it_must_have_has_the_status_for_that(
    node, peer, said, status, recwarn
) -> None:
    assert peer.notifies(said) == status
    assert announced(node) == ()
    assert peer.notifies(notification(available("1.1"))) == 0x0000, "the association lives on"


def test_the_same_notification_again_is_a_duplicate_and_one_without_a_uid_gets_ours(node, peer) -> None:
    said = notification(available("1.1"))
    assert [peer.notifies(said), peer.notifies(said)] == [0x0000, 0x0111]
    assert peer.notifies(said, uid=None) == 0x0000
    assert len(announced(node)) == 2


def test_a_step_goes_from_in_progress_to_completed_with_its_images(node, peer) -> None:
    assert peer.begins(step()) == 0x0000
    assert announced(node) == (Announced("MPPS", IN_PROGRESS, "CT1", 0, 0),)
    assert peer.sets(data_set(PerformedSeriesSequence=[series_of(reference("1.1"))])).Status == 0x0000
    assert announced(node)[0].state == IN_PROGRESS
    dose = [reference("1.9", XRayRadiationDoseSRStorage)]
    done = step("COMPLETED", series=[series_of(reference("1.1"), reference("1.2"), others=dose)])
    del done.ScheduledStepAttributesSequence
    assert peer.sets(done).Status == 0x0000
    assert announced(node) == (Announced("MPPS", COMPLETED, "CT1", 2, 2),)


def test_a_step_that_is_over_is_no_longer_updated_and_says_a710(node, peer) -> None:
    peer.begins(step(series=[series_of(reference("1.1"))]))
    assert peer.sets(data_set(PerformedProcedureStepStatus="DISCONTINUED")).Status == 0x0000
    assert announced(node) == (Announced("MPPS", DISCONTINUED, "CT1", 1, 1),)
    refused = peer.sets(data_set(PerformedProcedureStepStatus="COMPLETED"))
    assert (refused.Status, refused.ErrorID) == (0x0110, 0xA710)
    assert announced(node)[0].state == DISCONTINUED


def test_a_step_for_two_studies_is_announced_to_both(node, peer) -> None:
    assert peer.begins(step(studies=(STUDY, "1.2.4"))) == 0x0000
    assert len(announced(node)) == len(announced(node, "1.2.4")) == 1


def test_what_is_wrong_with_a_step_has_the_status_for_that(node, peer) -> None:
    assert peer.begins(step("COMPLETED")) == 0x0106
    assert peer.begins(step(studies=())) == 0x0120
    assert peer.sets(data_set(PerformedProcedureStepStatus="COMPLETED"), uid="9.9").Status == 0x0112
    assert peer.begins(step()) == 0x0000
    assert peer.begins(step()) == 0x0111
    assert peer.sets(data_set(PerformedProcedureStepStatus="DONE")).Status == 0x0106
    assert announced(node)[0].state == IN_PROGRESS


def test_without_its_database_nothing_is_answered_with_success(node, monkeypatch) -> None:
    class Away(Witness):
        def announce(self, said):
            raise Busy("the database is away")

    node.start(services=[performed_step_service(Away(node.db, lambda: NOW), (), lambda: "2.25.1")])
    with calling(node.port) as peer:
        assert peer.begins(step()) == 0x0110
