"""The lesions of the newest ultrasound that a model has read: what a hook may join with the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cds.imaging import latest_by_study
from clinical.finding import Finding
from clinical.lesion import LesionAssessment
from model_runtime.manifest import Manifest
from record_store.readings import FAILED, StoredReading
from record_store.unread import UnreadStudy

IMAGE_WITHIN_DAYS = 365
MAX_VIEWS = 4  # each is a run of the model within the hook's time


@dataclass(frozen=True, slots=True)
class View:
    """One lesion on one image."""

    stored: StoredReading
    lesion: LesionAssessment

    @property
    def finding(self) -> Finding:
        """The outlined lesion."""
        return next(one for one in self.stored.reading.findings if one.number == self.lesion.finding)


@dataclass(frozen=True, slots=True)
class Views:
    """views: the lesions that can be joined with the record, most suspicious when read first, MAX_VIEWS at most.

    absent: why there is none, "" otherwise. outlined: how many there are in all.
    stale: lesions that another version of the model saw: what it said stands, but its tokens cannot be joined.
    """

    views: tuple[View, ...]
    absent: str = ""
    stale: tuple[View, ...] = ()
    outlined: int = 0

    @property
    def newest(self) -> datetime | None:
        """When the newest of them was read."""
        return max((view.stored.created_at for view in (*self.views, *self.stale)), default=None)


def newest_views(stored: Sequence[StoredReading], manifest: Manifest, now: datetime) -> Views:
    """Return the lesions of the newest study that this model has read. stored: of one patient, newest first."""
    studies = latest_by_study([one for one in stored if one.reading.model.name == manifest.name])
    if not studies:
        return Views((), "no breast ultrasound of this patient has been read")
    images = studies[0]
    day = f"{images[0].created_at:%Y-%m-%d}"
    if images[0].created_at < now - timedelta(days=IMAGE_WITHIN_DAYS):
        return Views((), f"the newest was read on {day}, more than {IMAGE_WITHIN_DAYS} days ago")
    views = tuple(View(one, lesion) for one in images for lesion in one.reading.lesions)
    if not views:
        return Views((), f"no lesion was outlined in what was read on {day} (images: {len(images)})")
    current = tuple(view for view in views if view.stored.reading.model.digest == manifest.digest)
    if not current:
        return Views((), f"what was read on {day} is of another version of the model", views)
    worst_first = sorted(current, key=lambda view: -view.lesion.probability)
    return Views(tuple(worst_first[:MAX_VIEWS]), outlined=len(current))


def unread_since(unread: Sequence[UnreadStudy], seen: Views) -> list[UnreadStudy]:
    """Return the unread studies, without those that could not be read and are older than what was read since."""
    newest = seen.newest
    return [one for one in unread if newest is None or one.received_at > newest or one.state != FAILED]
