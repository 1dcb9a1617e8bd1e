"""The pictures of the lung nodule recipe: which sets, how they are split, how they become tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clinical.errors import PreconditionMissing
from model_export.datasets import boxes_folder, lidc_drr, nih_chestxdet, nih_cxr, splits
from model_export.datasets.folders import folder_digest, sets_at
from model_export.datasets.radiograph import Radiograph
from model_runtime.transforms import image_spec

IMAGE = {
    "modalities": ["CR", "DX"],
    "rows": 512,
    "columns": 512,
    "fit": "letterbox",
    "normalise": {"percentiles": [1.0, 99.0], "local_radius_px": 24},
}
SPEC = image_spec(IMAGE)
FOLD_SEED = 20261122
LAYOUT = {module.NAME: module.LAYOUT for module in (lidc_drr, nih_cxr, nih_chestxdet, boxes_folder)}
SOURCES: Mapping[str, Any] = {module.NAME: module for module in (lidc_drr, nih_cxr, nih_chestxdet, boxes_folder)}


@dataclass(frozen=True, slots=True)
class Sets:
    """Pictures by set; a set that is not there is empty.

    projections: simulated radiographs with outlines (lidc_drr). labelled: real ones with `reports` by name
    (nih_cxr621). boxed: real ones with expert boxes (nih_chestxdet, and what a user brings).
    digest: set -> sha256 of its folder; subjects, rows: set -> how many patients and pictures it holds.
    """

    projections: Sequence[Radiograph] = ()
    labelled: Sequence[Radiograph] = ()
    reports: Mapping[str, nih_cxr.Report] = field(default_factory=dict)
    boxed: Sequence[Radiograph] = ()
    digest: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def backgrounds(self) -> list[Radiograph]:
        """Real radiographs whose report mentions no nodule or mass: nodules are added to them."""
        with_boxes = {item.name for item in self.boxed if item.nodules}
        return [
            item
            for item in self.labelled
            if not self.reports[item.name].nodule_or_mass and item.name not in with_boxes
        ]

    def few(self, count: int = 9) -> "Sets":
        """Return a part with which a recipe is tried in seconds: the pictures with most nodules of each set."""

        def some(pictures: Sequence[Radiograph]) -> list[Radiograph]:
            ranked = sorted(pictures, key=lambda item: (-_stratum(item), -_has_finding(item, self), item.name))
            return ranked[:count] + ranked[-count:]

        return replace(
            self,
            projections=some(self.projections),
            labelled=some(self.labelled),
            boxed=self.boxed[:count],
        )


def load_sets(data: Path) -> Sets:
    """Read the sets that lie at `data` or beside it (`folders.sets_at`).

    Raises IncorrectInput when none is recognised, or a file is not what its loader expects.
    """
    found = sets_at(data, LAYOUT)
    labelled, reports = nih_cxr.load(found[nih_cxr.NAME]) if nih_cxr.NAME in found else ([], {})
    pictures: dict[str, list[Radiograph]] = {nih_cxr.NAME: labelled}
    for module in (lidc_drr, nih_chestxdet, boxes_folder):
        pictures[module.NAME] = module.load(found[module.NAME]) if module.NAME in found else []
    return Sets(
        projections=pictures[lidc_drr.NAME],
        labelled=labelled,
        reports=reports,
        boxed=[*pictures[nih_chestxdet.NAME], *pictures[boxes_folder.NAME]],
        digest={name: folder_digest(folder) for name, folder in found.items()},
        subjects={name: len({item.patient for item in pictures[name]}) for name in found},
        rows={name: len(pictures[name]) for name in found},
    )


def require_projections(sets: Sets) -> Sets:
    """Return the sets. Raises PreconditionMissing when the one that cannot be done without is not there."""
    if not sets.projections:
        raise PreconditionMissing("the lidc_drr data set is not here: set CONSILIUM_DATASETS_DIR")
    return sets


def folds(sets: Sets, count: int) -> list[tuple[Sets, Sets]]:
    """Return (training, test) parts by patient.

    Real radiographs of both sets are split together, because they share patients. Patients with a visible nodule
    of 15 mm or more, and with a nodule or mass in the report, are spread evenly.
    """
    real = [*sets.labelled, *sets.boxed]
    parts = []
    for simulated, true in zip(
        _parts(sets.projections, [_stratum(item) for item in sets.projections], count),
        _parts(real, [_has_finding(item, sets) for item in real], count),
        strict=True,
    ):
        parts.append((_chosen(sets, simulated, true, test=False), _chosen(sets, simulated, true, test=True)))
    return parts


def _parts(pictures: Sequence[Radiograph], stratum: Sequence[int], count: int) -> list[set[str]]:
    """Return the patients of each test part."""
    if not pictures:
        return [set() for _ in range(count)]
    groups = splits.groups_of(patient=[item.patient for item in pictures])
    drawn = splits.folds(groups, np.array(stratum, np.int64), count=count, seed=FOLD_SEED)
    return [{pictures[row].patient for row in one.test} for one in drawn]


def _chosen(sets: Sets, simulated: set[str], real: set[str], *, test: bool) -> Sets:
    return replace(
        sets,
        projections=[item for item in sets.projections if (item.patient in simulated) is test],
        labelled=[item for item in sets.labelled if (item.patient in real) is test],
        boxed=[item for item in sets.boxed if (item.patient in real) is test],
    )


def _stratum(item: Radiograph) -> int:
    truth = [nodule for nodule in item.nodules if nodule.is_truth]
    visible = [nodule for nodule in truth if nodule.is_visible]
    return bool(truth) + bool(visible) + any(nodule.diameter_mm >= 15 for nodule in visible)


def _has_finding(item: Radiograph, sets: Sets) -> int:
    report = sets.reports.get(item.name)
    return 2 if item.nodules else int(report is not None and report.nodule_or_mass)
