"""Objects that C-GET brings become ours by the same way as those that are sent to us."""

from pathlib import Path
from typing import TYPE_CHECKING

from consilium.wiring import House
from dicom_node.destinations import Destination

if TYPE_CHECKING:
    from dicom_node.query.get_scu import Take


def taker_of(house: House, archive: Destination) -> "Take":
    """Return what takes a fetched object: header read and checked, then durable and committed, or an error."""
    from dicom_node.header import read_stored_header  # noqa: PLC0415
    from dicom_node.intake import Intake, Sender, check_uids  # noqa: PLC0415

    intake = Intake(house.db, house.blobs, house.issuers, house.now)

    def take(part: Path, transfer_syntax: str) -> None:
        header = read_stored_header(part)
        check_uids(header)
        intake.take(part, header, transfer_syntax, Sender(archive.ae_title[:16], house.settings.ae_title))

    return take
