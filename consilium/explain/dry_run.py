"""`consilium study dry-run`: what rules would do with a stored study, clause by clause. Nothing is changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clinical.errors import ClinicalError, NotFound
from consilium.readers import READERS, choose
from consilium.rules import send_decision
from consilium.selection import Selecting, SourceImage
from model_runtime.manifest import Manifest
from record_store.audit import digest
from record_store.database import Database
from record_store.instances import InstanceRow, instances_of, study_row
from record_store.study_history import find_study

UNREADABLE = "its header cannot be read"


@dataclass(frozen=True, slots=True)
class DryRun:
    """What trying rules needs. selecting: holds the rules. kinds: of results that are made."""

    db: Database
    selecting: Selecting
    manifests: Sequence[Manifest]
    destinations: tuple[str, ...]
    kinds: tuple[str, ...]

    def run(self, named: str) -> dict[str, Any]:
        """Return as JSON which model would read which image and where its results would go. Raises NotFound."""
        with self.db.read() as conn:
            uid = find_study(conn, named)
            study = None if uid is None else study_row(conn, uid)
            rows = [] if uid is None else instances_of(conn, uid)
        if study is None:
            raise NotFound("no study has this UID or digest; 'consilium studies' lists the digests")
        asked = [one for one in self.manifests if set(one.modalities) & {row.modality for row in rows}]
        return {
            "study": digest(study.study_uid),
            "images": [self._image(row, asked) for row in rows],
            "results": [self._result(manifest, kind) for manifest in asked for kind in self.kinds],
        }

    def _image(self, row: InstanceRow, manifests: Sequence[Manifest]) -> dict[str, Any]:
        told: dict[str, Any] = {"image": digest(row.sop_instance_uid), "modality": row.modality, "models": []}
        try:
            image = self.selecting.image(row)
        except ClinicalError:
            return told | {"problem": UNREADABLE}
        return told | {"models": [self._verdict(image, manifest) for manifest in manifests]}

    def _verdict(self, image: SourceImage, manifest: Manifest) -> dict[str, Any]:
        decided = self.selecting.decision(image, manifest.name)
        own = choose(READERS, manifest).rule(manifest).why_not(image.header)
        return {
            "model": manifest.name,
            "reads": decided.reads and own is None,
            "rules": decided.why,
            "rules_before": list(decided.tried),
            "model_says": own or "it is made for this image",
        }

    def _result(self, manifest: Manifest, kind: str) -> dict[str, Any]:
        decided = send_decision(self.selecting.rules, kind, manifest.name, self.destinations)
        return {"model": manifest.name, "kind": kind, "to": list(decided.to), "rules": decided.why}


def in_text(told: dict[str, Any]) -> str:
    """Return a dry run as lines for a terminal."""
    lines = [f"study {told['study']}: what would be done"]
    for image in told["images"]:
        lines.append(f"image {image['image']} ({image['modality']}) {image.get('problem', '')}".rstrip())
        for one in image["models"]:
            lines.append(f"  {one['model']}: {'reads it' if one['reads'] else 'does not read it'}")
            lines += [f"    {before}" for before in one["rules_before"]]
            lines += [f"    {one['rules']}", f"    the model says: {one['model_says']}"]
    for result in told["results"]:
        to = ", ".join(result["to"]) or "nobody"
        lines.append(f"{result['kind']} of {result['model']} to {to}: {result['rules']}")
    return "\n".join(lines) + "\n"
