"""Reads what `explain` tells from: the study's rows, its images' headers, the models and the site's rules."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical.errors import ClinicalError, NotFound
from consilium.explain.differing_words import differing_in_words
from consilium.explain.dry_run import UNREADABLE, DryRun
from consilium.explain.stages import Match, Stage, as_json, explain
from consilium.explain.volume_words import volumes_in_words
from consilium.selection import Selecting, SourceImage
from model_runtime.engine import Engine
from model_runtime.manifest import Manifest
from record_store.database import Database
from record_store.instances import InstanceRow
from record_store.study_history import StudyHistory, differing_of, find_study, history_of

if TYPE_CHECKING:
    from consilium.wiring import House


@dataclass(frozen=True, slots=True)
class Explainer:
    """What explaining needs; every field is what the worker's own steps use, so the answers are the same."""

    db: Database
    selecting: Selecting
    manifests: Callable[[], Sequence[Manifest]]
    quiet_s: float

    def explain(self, named: str) -> dict[str, Any]:
        """Return the explanation of the study of this UID or digest. Raises NotFound."""
        history, stages = self.stages(named)
        return as_json(history, stages)

    def stages(self, named: str) -> tuple[StudyHistory, tuple[Stage, ...]]:
        """Return the rows and the stages told from them; errors as explain."""
        with self.db.read() as conn:
            uid = find_study(conn, named)
            history = None if uid is None else history_of(conn, uid)
            refused = differing_in_words(differing_of(conn, named), "") if history is None else ()
        if history is None:
            unknown = "no study has this UID or digest; 'consilium studies' lists the digests"
            raise NotFound("; ".join((unknown, *refused)))
        matches = [self._match(history, manifest) for manifest in self.manifests() if manifest.modalities]
        volumes = volumes_in_words(history.instances, self.selecting.blobs)
        return history, explain(history, matches, self.quiet_s, volumes)

    def _match(self, history: StudyHistory, manifest: Manifest) -> Match:
        name = f"{manifest.name} {manifest.version}"
        has = {row.modality for row in history.instances}
        reads = ", ".join(manifest.modalities)
        if not has & set(manifest.modalities):
            return Match(name, f"not asked: it reads {reads}, the study has {', '.join(sorted(has))}")
        images, damaged = self._images(history.instances)
        chosen = self.selecting.select(history.study.patient, images, manifest)
        reasons = Counter(one.reason for one in chosen.left_out) + Counter({UNREADABLE: damaged})
        clauses = sorted({self.selecting.decision(image, manifest.name).why for image in chosen.read})
        return Match(
            name, f"asked: it reads {reads}", len(chosen.read), tuple(sorted(reasons.items())), tuple(clauses)
        )

    def _images(self, rows: Sequence[InstanceRow]) -> tuple[list[SourceImage], int]:
        images, damaged = [], 0
        for row in rows:
            try:
                images.append(self.selecting.image(row))
            except ClinicalError:
                damaged += 1
        return images, damaged


def explainer_of(house: "House", engine: Engine) -> Explainer:
    """Return the explainer over a house's store, settings and models."""
    return Explainer(
        db=house.db,
        selecting=house.selecting,
        manifests=lambda: _manifests(engine),
        quiet_s=house.settings.study_quiet_s,
    )


def dry_run_of(house: "House", engine: Engine) -> DryRun:
    """Return what tries the rules of a house's settings."""
    return DryRun(
        db=house.db,
        selecting=house.selecting,
        manifests=[manifest for manifest in _manifests(engine) if manifest.modalities],
        destinations=tuple(one.name for one in house.settings.pacs),
        kinds=house.settings.results,
    )


def _manifests(engine: Engine) -> list[Manifest]:
    return [engine.manifest(state.name) for state in engine.ready() if state.version]
