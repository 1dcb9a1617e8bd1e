"""Objects that C-GET brings become ours by the same way as those that are sent to us."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.wiring import House
from dicom_node.destinations import Destination

if TYPE_CHECKING:
    from dicom_node.query.get_scu import Take
    from dicom_node.query.scu import Retrieved


def fetch_of(house: House) -> "Callable[[Destination, str, str], Retrieved]":
    """Return what has a whole study of an archive come to us: (archive, study UID, "move" or "get")."""
    from dicom_node.query import scu  # noqa: PLC0415
    from dicom_node.query.get_scu import get  # noqa: PLC0415
    from dicom_node.scp import IMAGE_CLASSES  # noqa: PLC0415

    ours = house.settings.ae_title

    def fetch(archive: Destination, study_uid: str, by: str) -> "Retrieved":
        wanted = scu.query("STUDY", {"StudyInstanceUID": study_uid})
        if by == "move":
            return scu.move(archive, ours, wanted, ours)
        return get(archive, ours, wanted, IMAGE_CLASSES, house.blobs.staging, taker_of(house, archive))

    return fetch


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
