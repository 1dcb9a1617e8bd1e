"""Services beside storage share pynetdicom's events, and each gets the requests of its own SOP classes."""

from types import SimpleNamespace

import pytest
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
)

from clinical.errors import IncorrectInput
from dicom_node.service import Service, bound, offered


def service(sop_class, *events, answer="") -> Service:
    return Service((build_context(sop_class),), dict.fromkeys(events, lambda _event: answer))


def test_a_request_reaches_the_service_whose_sop_class_its_context_has() -> None:
    services = [
        service(ModalityPerformedProcedureStep, evt.EVT_N_CREATE, evt.EVT_N_SET, answer="step"),
        service(InstanceAvailabilityNotification, evt.EVT_N_CREATE, answer="availability"),
    ]
    handlers = dict(bound(services))
    assert set(handlers) == {evt.EVT_N_CREATE, evt.EVT_N_SET}
    for sop_class, answer in (
        (ModalityPerformedProcedureStep, "step"),
        (InstanceAvailabilityNotification, "availability"),
    ):
        event = SimpleNamespace(context=SimpleNamespace(abstract_syntax=sop_class))
        assert handlers[evt.EVT_N_CREATE](event) == answer
    assert len(offered(services)) == 2


def test_two_services_of_one_sop_class_stop_the_start() -> None:
    one = service(StorageCommitmentPushModel, evt.EVT_N_ACTION)
    with pytest.raises(IncorrectInput):
        offered([one, one])
