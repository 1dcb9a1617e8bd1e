"""The pictures of the lung nodule recipe: which sets, how they are split, how they become tensors."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clinical.errors import PreconditionMissing
from model_export.datasets import lidc_drr, nih_cxr
from model_export.datasets.radiograph import Radiograph, split_by_patient
from model_runtime.transforms import image_spec

IMAGE = {
    "modalities": ["CR", "DX"],
    "rows": 512,
    "columns": 512,
    "fit": "letterbox",
    "normalise": {"percentiles": [1.0, 99.0], "local_radius_px": 24},
}
SPEC = image_spec(IMAGE)
SPLIT_SEED = 20261122
SPLIT = (0.65, 0.15, 0.20)  # training, validation, test


@dataclass(frozen=True, slots=True)
class Sets:
    """Pictures by use; no patient stands in two of them.

    real_train: real radiographs without nodule label, backgrounds for added nodules.
    real_test, real_label: real radiographs never trained on, with their text label.
    sha256: of the checksum lists of the sets, for the manifest.
    """

    train: list[Radiograph]
    validation: list[Radiograph]
    test: list[Radiograph]
    real_train: list[Radiograph]
    real_test: list[Radiograph]
    real_label: dict[str, bool]
    sha256: str


def load_sets(data: Path) -> Sets:
    """Read and split the data.

    data: the folder of the projections; the real radiographs lie beside it. Without those the model is
    trained on the projections and made-up chests alone.
    Raises PreconditionMissing when the projections are not there.
    """
    if not (data / "cases.csv").is_file():
        raise PreconditionMissing("the lidc_drr data set is not here: set CONSILIUM_DATASETS_DIR")
    real = data.parent / nih_cxr.NAME
    train, validation, test = split_by_patient(lidc_drr.load(data), SPLIT, SPLIT_SEED)
    pictures, label = nih_cxr.load(real) if real.is_dir() else ([], {})
    without = [item for item in pictures if not label[item.name]]
    real_train, real_rest = split_by_patient(without, (0.6, 0.4), SPLIT_SEED)
    real_test = real_rest + [item for item in pictures if label[item.name]]
    return Sets(train, validation, test, real_train, real_test, label, _digest(data, real))


def _digest(*folders: Path) -> str:
    """Hash what the sets say of their files: `SHA256SUMS`, or `cases.csv` when there is none."""
    digest = hashlib.sha256()
    for folder in folders:
        for name in ("SHA256SUMS", "cases.csv"):
            if (folder / name).is_file():
                digest.update((folder / name).read_bytes())
                break
    return digest.hexdigest()
