"""What an encoder is given besides the reading: identities, equipment and time. Nothing is made up inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clinical.finding import Reading
from clinical.uids import derived_uid

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSIS"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The object of the same kind that said it before, of the same image by the same model."""

    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContext:
    """Who makes a result object and how it is called.

    series_number: off the modality's range. tracking_uids: finding number -> UID, the same in every result
    of this finding. created: written as it is, without its zone: DICOM dates are local to the source.
    revision: how often this model has read this image, this time included. predecessor: what this object
    replaces. picture: the image as shown, uint8 (rows, columns), for kinds that need it; perhaps a reduced one.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    tracking_uids: Mapping[int, str]
    manufacturer: str
    software_version: str
    device_serial: str
    created: datetime
    revision: int = 1
    predecessor: Predecessor | None = None
    picture: NDArray[np.uint8] | None = None

    @property
    def device_uid(self) -> str:
        """The UID of this installation as an observer."""
        return derived_uid("device", self.manufacturer, self.device_serial)


def tracking_identifier(reading: Reading, number: int) -> str:
    """Return how people call one finding, the same words in every result."""
    return f"{reading.terms.label} {number}"
