"""What the DICOM node offers besides storage: one offer a line, made by the room that it belongs to.

The node is built from this list and its conformance statement is written from it, as both are of how it presents
itself. An offer is made when somebody asks for one of its SOP classes: until then it is their UIDs, and
pynetdicom is not loaded.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from clinical.uids import random_uid
from consilium.wiring import House
from dicom_node import sop_classes
from dicom_node.service import Later

if TYPE_CHECKING:
    from dicom_node.scp import ScpSettings
    from dicom_node.service import Service

Delivered = Callable[[str, str], None]  # (archive, state), for metrics


def scp_settings(house: House) -> "ScpSettings":
    """Return how the settings have the node present itself."""
    from dicom_node.bounds import Bounds  # noqa: PLC0415
    from dicom_node.scp import ScpSettings  # noqa: PLC0415
    from record_store.taking import Flush  # noqa: PLC0415

    settings = house.settings
    return ScpSettings(
        ae_title=settings.ae_title,
        host=settings.dicom_host,
        port=settings.dicom_port if settings.takes_plain_dicom else None,
        tls_port=settings.dicom_tls_port,
        calling=settings.calling_aes,
        closed=settings.profile == "production",
        storage_classes=settings.storage_classes,
        low_water_bytes=house.low_water_bytes,
        bounds=Bounds(
            associations=settings.max_associations,
            associations_per_ae=settings.max_associations_per_ae,
            associations_per_host=settings.max_associations_per_address,
        ),
        flush=Flush(settings.dicom_flush),
        private_syntaxes=settings.private_encodings,
    )


def node_offers(house: House, delivered: Delivered = lambda _archive, _state: None) -> list[Later]:
    """Return what the settings ask for. Nothing is opened before a request comes."""
    offers = [
        Later(frozenset((sop_classes.STORAGE_COMMITMENT_PUSH_MODEL,)), lambda: _commitment(house, delivered)),
        Later(frozenset((sop_classes.INSTANCE_AVAILABILITY_NOTIFICATION,)), lambda: _availability(house)),
        Later(frozenset((sop_classes.MODALITY_PERFORMED_PROCEDURE_STEP,)), lambda: _performed_step(house)),
    ]
    if house.settings.query_aes:
        offers.append(Later(frozenset((*sop_classes.QUERY, *sop_classes.RETRIEVE)), lambda: _queries(house)))
    if house.settings.ups_aes:
        offers.append(Later(frozenset(sop_classes.STEPS), lambda: _steps(house)))
    if house.settings.performs_steps:
        event = (sop_classes.UNIFIED_PROCEDURE_STEP_EVENT,)
        offers.append(Later(frozenset(event), lambda: _events_of_steps(house)))
    return offers


def services_of(house: House) -> "list[Service]":
    """Return the services themselves."""
    return [one for offer in node_offers(house) for one in offer.services()]


def _commitment(house: House, delivered: Delivered) -> "list[Service]":
    from consilium.committing import answers_of  # noqa: PLC0415
    from consilium.vouching import vouching_of  # noqa: PLC0415
    from dicom_node.commitment_scp import commitment_service  # noqa: PLC0415

    asks = any(one.commitment for one in house.settings.pacs)
    take = answers_of(house, delivered).take if asks else None
    return [commitment_service(vouching_of(house).keep, take)]


def _availability(house: House) -> "list[Service]":
    from consilium.witnessing import Witness  # noqa: PLC0415
    from dicom_node.instance_availability import availability_service  # noqa: PLC0415

    return [availability_service(Witness(house.db, house.now), _taken(house), random_uid)]


def _performed_step(house: House) -> "list[Service]":
    from consilium.witnessing import Witness  # noqa: PLC0415
    from dicom_node.modality_performed_procedure_step import performed_step_service  # noqa: PLC0415

    return [performed_step_service(Witness(house.db, house.now), _taken(house), random_uid)]


def _taken(house: House) -> frozenset[str]:
    """Return the classes of the objects that may come."""
    return frozenset(sop_classes.storage_classes(house.settings.storage_classes))


def _steps(house: House) -> "list[Service]":
    from consilium.workitems.own import own_steps_of  # noqa: PLC0415
    from dicom_node.ups.scp import step_services  # noqa: PLC0415

    return step_services(own_steps_of(house), random_uid)


def _events_of_steps(house: House) -> "list[Service]":
    from consilium.workitems.heeding import heeding_of  # noqa: PLC0415
    from dicom_node.ups.event_scu import event_service  # noqa: PLC0415

    return [event_service(heeding_of(house))]


def _queries(house: House) -> "list[Service]":
    from dicom_node.query.node import Archive  # noqa: PLC0415
    from dicom_node.query.service import query_retrieve_services  # noqa: PLC0415

    return query_retrieve_services(
        Archive(
            house.db,
            house.blobs,
            house.header_index,
            house.query_access,
            house.settings.ae_title,
            house.trail.note,
        )
    )
