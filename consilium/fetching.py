"""Objects that C-GET brings become ours by the same way as those that are sent to us."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.wiring import House
from dicom_node.destinations import Destination

if TYPE_CHECKING:
    from dicom_node.query.get_scu import Take
    from dicom_node.query.scu import Retrieved


# What IMAGE_CLASSES are of. A secondary capture may be of any modality, so it comes only where all objects do.
IMAGE_MODALITIES = frozenset(("CR", "CT", "DX", "MG", "MR", "US"))


def fetch_of(house: House) -> "Callable[[Destination, str, str], Retrieved]":
    """Return what has a whole study of an archive come to us: (archive, study UID, "move" or "get")."""
    from dicom_node.query import scu  # noqa: PLC0415
    from dicom_node.query.get_scu import get  # noqa: PLC0415
    from dicom_node.sop_classes import IMAGE_CLASSES  # noqa: PLC0415

    ours = house.settings.ae_title

    def fetch(archive: Destination, study_uid: str, by: str) -> "Retrieved":
        wanted = scu.query("STUDY", {"StudyInstanceUID": study_uid})
        if by == "move":
            ended = scu.move(archive, ours, wanted, ours)
            if ended.status == 0 or house.settings.storage_classes == "all":
                return ended
            # Archives differ in what they do about an object of a class that we do not take, a SEG of ours for
            # example: some report it as failed, Orthanc ends the whole C-MOVE there.
            return _moved_images(archive, ours, study_uid) or ended
        return get(archive, ours, wanted, IMAGE_CLASSES, house.blobs.staging, taker_of(house, archive))

    return fetch


def _moved_images(archive: Destination, ours: str, study_uid: str) -> "Retrieved | None":
    """Have the series of images of a study sent to us, one by one; None when it has none."""
    from dicom_node.query import scu  # noqa: PLC0415

    named = {"StudyInstanceUID": study_uid}
    answers = scu.find(archive, ours, scu.query("SERIES", named | {"SeriesInstanceUID": "", "Modality": ""}))
    moved = [
        scu.move(archive, ours, scu.query("SERIES", named | {"SeriesInstanceUID": series_uid}), ours)
        for one in answers
        if scu.text_of(one, "Modality") in IMAGE_MODALITIES
        and (series_uid := scu.text_of(one, "SeriesInstanceUID"))
    ]
    if not moved:
        return None
    worst = next((one for one in moved if one.status), moved[0])
    counts = {name: sum(getattr(one, name) for one in moved) for name in ("completed", "failed", "warning")}
    return replace(worst, **counts)


def taker_of(house: House, archive: Destination) -> "Take":
    """Return what takes a fetched object: header read and checked, then durable and committed, or an error."""
    from dicom_node.header import read_stored_header  # noqa: PLC0415
    from dicom_node.intake import Intake, Sender, check_uids  # noqa: PLC0415

    intake = Intake(house.db, house.blobs, house.issuers, house.now, restore=house.homecoming)

    sender = Sender(archive.ae_title[:16], house.settings.ae_title, fetched=True)

    def take(part: Path, transfer_syntax: str) -> None:
        header = read_stored_header(part)
        check_uids(header)
        intake.take(part, header, transfer_syntax, sender)

    return take
