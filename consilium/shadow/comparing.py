"""Reads what two models said of the same images out of the store, and what kept them from others."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from clinical.clock import Clock
from clinical.errors import NotFound, PreconditionMissing
from consilium.encoding import unpacked
from consilium.shadow.comparison import SMALLEST_GROUP, Json, Row, Side, compared, counted, nothing_found, row_of
from record_store import readings, shadow_readings, shadows
from record_store.audit import append as append_audit
from record_store.audit import digest
from record_store.blobs import Blobs
from record_store.database import Database
from record_store.shadow_readings import Place
from record_store.shadows import ShadowStudy

GONE = "readings were removed while they were compared: compare again"
ENDED = "its process ended while it read the study"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a person names it."""

    name: str
    version: str

    @property
    def label(self) -> str:
        """NAME VERSION."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Comparing:
    """actor: who asked, for the audit (`checked_operator`)."""

    db: Database
    blobs: Blobs
    now: Clock
    actor: str

    def run(self, live: Model, shadow: Model, *, smallest: int = SMALLEST_GROUP) -> tuple[Json, list[Row]]:
        """Compare two models over the images that both have read. Raises NotFound when there is none.

        Raises PreconditionMissing when somebody removes what is compared.
        live: what it said as results; where it has none of an image, what it said in shadow or a replay.
        """
        with self.db.read() as conn:
            taken = shadows.of_model(conn, shadow.name, shadow.version)
            said = _Said(
                shadow_readings.live_by_image(conn, live.name, live.version),
                shadow_readings.by_image(conn, live.name, live.version),
            )
            its = shadow_readings.by_image(conn, shadow.name, shadow.version)
            live_failed = self._live_failures(conn, live, taken)
        # One after the other and not in that snapshot: a reading does not change, and a snapshot that is held for
        # as long as all masks take keeps PostgreSQL's vacuum and SQLite's log from ending.
        rows = list(self._rows(said, its))
        self._audit(live, shadow, len(rows))
        if not rows:
            raise NotFound(
                "there is no image that both models have read; 'consilium study replay' has one read them"
            )
        told = {"live": live.label, "shadow": shadow.label, **compared(rows, smallest=smallest)}
        told["read_by_one_alone"] = _alone(said, its, {one.study_uid for one in taken})
        told["failures"] = {"live_jobs": live_failed, "shadow_images": self._failures(taken)}
        told["left_out_images"] = counted([one.left_out for one in taken])
        return told, rows

    def _rows(self, said: "_Said", its: Mapping[str, Place]) -> Iterator[Row]:
        for image, second in sorted(its.items(), key=lambda one: (one[1].study_uid, one[0])):
            live, again = said.live.get(image), said.again.get(image)
            first = live or again
            if first is None:
                continue
            names = digest(second.study_uid), digest(image), second.subgroup
            seconds = again.seconds if again else None, second.seconds
            if not (first.findings or second.findings):  # as of most images: there is no mask to look at
                yield nothing_found(*names, seconds)
                continue
            other = self._side(second.reading_id, second.seconds)
            one = self._live_side(live, seconds[0]) if live else self._side(first.reading_id, first.seconds)
            yield row_of(*names, one, other)

    def _live_side(self, place: Place, seconds: float | None) -> Side:
        with self.db.read() as conn:
            kept = readings.reading_by_id(conn, place.reading_id)
        if kept is None:
            raise PreconditionMissing(GONE)
        return Side(kept.reading, unpacked(self.blobs.get(kept.mask_sha256)), seconds)

    def _side(self, reading_id: str, seconds: float | None) -> Side:
        with self.db.read() as conn:
            kept = shadow_readings.by_id(conn, reading_id)
        if kept is None:
            raise PreconditionMissing(GONE)
        return Side(kept.reading, unpacked(kept.mask), seconds)

    def _live_failures(self, conn: Connection, live: Model, taken: list[ShadowStudy]) -> dict[str, int]:
        studies = {one.study_uid for one in taken}
        failed = shadows.live_failures(conn, live.name, live.version)
        return dict(Counter(reason for uid, reason in failed if uid in studies).most_common())

    def _failures(self, taken: list[ShadowStudy]) -> dict[str, int]:
        ended = sum(one.ended_short(self.now()) for one in taken)
        return counted([*(one.failures for one in taken), {ENDED: ended} if ended else {}])

    def _audit(self, live: Model, shadow: Model, images: int) -> None:
        with self.db.write() as conn:
            append_audit(
                conn,
                at=self.now(),
                action="shadow-compared",
                outcome="told" if images else "nothing",
                actor=self.actor,
                subject=f"model {shadow.label}",
                detail={"live": live.label, "images": images},
            )


@dataclass(frozen=True, slots=True)
class _Said:
    """SOP Instance UID -> where the live model's reading stands: one with results, one of a replay."""

    live: Mapping[str, Place]
    again: Mapping[str, Place]


def _alone(said: _Said, its: Mapping[str, Place], studies: set[str]) -> dict[str, int]:
    """Return how many images of the studies only one of the models has read."""
    first = {uid for kept in (said.live, said.again) for uid, place in kept.items() if place.study_uid in studies}
    return {"live": len(first - its.keys()), "shadow": len(its.keys() - first)}
