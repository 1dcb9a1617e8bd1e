"""What an encoder is given besides the reading: identities, equipment and time. Nothing is made up inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from clinical.finding import Reading
from clinical.uids import derived_uid

SEG_SERIES_NUMBER = 9001
SR_SERIES_NUMBER = 9002


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContext:
    """Who makes a result object and how it is called.

    series_number: off the modality's range. tracking_uids: finding number -> UID, the same in every result
    of this finding. created: written as it is, without its zone: DICOM dates are local to the source.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    tracking_uids: Mapping[int, str]
    manufacturer: str
    software_version: str
    device_serial: str
    created: datetime

    @property
    def device_uid(self) -> str:
        """The UID of this installation as an observer."""
        return derived_uid("device", self.manufacturer, self.device_serial)


def tracking_identifier(reading: Reading, number: int) -> str:
    """Return how people call one finding, the same words in every result."""
    return f"{reading.terms.label} {number}"
