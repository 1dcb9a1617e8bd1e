"""Decoding an image of a study: tried again when its decoder died, set aside after the third time.

A crash, a limit or the machine's memory may end a decoder. The job engine waits between tries, and an image that
is set aside fails its own job at once, so the queue behind it goes on.
"""

from datetime import datetime
from pathlib import Path

import structlog

from clinical.errors import Busy, IncorrectInput
from dicom_node.pixels import DecodedImage, Decoder, DecoderEnded
from record_store import quarantine
from record_store.audit import digest
from record_store.database import Database

SET_ASIDE = (
    f"the image ended its decoder {quarantine.MOST_TRIES} times and is set aside (consilium dicom quarantine)"
)
log = structlog.get_logger()


def decode(db: Database, decoder: Decoder, sha256: str, path: Path, now: datetime) -> DecodedImage:
    """Return the decoded image whose bytes have this sha256.

    Raises Busy while a decoder's end may have been chance, IncorrectInput once it is set aside; otherwise as
    Decoder.read.
    """
    with db.read() as conn:
        if quarantine.tries(conn, sha256) >= quarantine.MOST_TRIES:
            raise IncorrectInput(SET_ASIDE)
    try:
        return decoder.read(path)
    except DecoderEnded as ended:
        with db.write() as conn:
            count = quarantine.record_try(conn, sha256, ended.message, now)
        log.warning("decoder ended", instance=digest(sha256), attempt=count, problem=ended.message)
        if count >= quarantine.MOST_TRIES:
            raise IncorrectInput(SET_ASIDE) from None
        raise Busy(ended.message) from None
