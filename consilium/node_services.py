"""What the DICOM node offers besides storage: one line each service, made by the room that it belongs to.

The node is built from this list, and its conformance statement is written from it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from clinical.uids import random_uid
from consilium.wiring import House

if TYPE_CHECKING:
    from dicom_node.service import Service

Delivered = Callable[[str, str], None]  # (archive, state), for metrics


def services_of(house: House, delivered: Delivered = lambda _archive, _state: None) -> "list[Service]":
    """Return the services that the settings ask for. Nothing is opened before a request comes."""
    from consilium.committing import answers_of  # noqa: PLC0415
    from consilium.vouching import vouching_of  # noqa: PLC0415
    from consilium.witnessing import Witness  # noqa: PLC0415
    from dicom_node.commitment_scp import commitment_service  # noqa: PLC0415
    from dicom_node.instance_availability import availability_service  # noqa: PLC0415
    from dicom_node.modality_performed_procedure_step import performed_step_service  # noqa: PLC0415
    from dicom_node.scp import presentation_contexts  # noqa: PLC0415

    witness = Witness(house.db, house.now)
    takes = {str(one.abstract_syntax) for one in presentation_contexts(house.settings.storage_classes)}
    asks = any(one.commitment for one in house.settings.pacs)
    take = answers_of(house, delivered).take if asks else None
    return [
        commitment_service(vouching_of(house).keep, take),
        availability_service(witness, takes, random_uid),
        performed_step_service(witness, takes, random_uid),
        *_queries(house),
    ]


def _queries(house: House) -> "list[Service]":
    if not house.settings.query_aes:
        return []
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
