"""What the stacks of a study are as volumes, by their headers: in words for `consilium study explain`.

No model here reads volumes. Whoever wonders whether one could is told what stands against it.
"""

from collections import defaultdict
from collections.abc import Sequence

from clinical.errors import ClinicalError
from clinical.volume import Slice, Volume, volume_of
from dicom_node.placing import NOWHERE, STACKED, placed
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.instances import InstanceRow

MOST_OBJECTS = 3000  # of a study whose headers are read for it


def volumes_in_words(rows: Sequence[InstanceRow], blobs: Blobs) -> tuple[str, ...]:
    """Return a line for each series of a stacked modality with more than one slice."""
    series: defaultdict[tuple[str, str], list[Slice]] = defaultdict(list)
    stacked = [row for row in rows if row.modality in STACKED]
    if len(stacked) > MOST_OBJECTS:
        return (f"volumes: not looked at, {len(stacked)} objects are more than {MOST_OBJECTS}",)
    for row in stacked:
        series[row.series_uid, row.modality] += _placed(row, blobs)
    return tuple(_line(uid, modality, slices) for (uid, modality), slices in series.items() if len(slices) > 1)


def _line(series_uid: str, modality: str, slices: Sequence[Slice]) -> str:
    found = volume_of(slices)
    words = found.in_words if isinstance(found, Volume) else f"no volume: {found.in_words}"
    return f"series {digest(series_uid)} ({modality}): {words}"


def _placed(row: InstanceRow, blobs: Blobs) -> list[Slice]:
    try:
        with blobs.local_path(row.sha256) as path:
            return placed(path)
    except ClinicalError:
        return [NOWHERE]
