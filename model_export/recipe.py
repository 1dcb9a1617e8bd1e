"""What a model recipe is: one module, one `RECIPE`, one line in `model_export/recipes/__init__.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Progress(Protocol):
    """Where a recipe says how far it is. The command line shows it; tests pass `quiet`."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """stage: what is being done, in words; done of total."""
        ...


def quiet(stage: str, done: int, total: int) -> None:
    """Say nothing."""


class Train(Protocol):
    """Train, export through the gate, and write the model's folder."""

    def __call__(self, data: Path, out: Path, *, seed: int, progress: Progress) -> Path:
        """data: the data set's folder, as in shared/data/<set>. out: the folder of models.

        Returns `out/<name>`. Raises ExportRefused when the gate refuses; then nothing was written.
        Raises clinical.errors.IncorrectInput when the data does not hold what the loader expects.
        """
        ...


class Evaluate(Protocol):
    """Measure an exported model, through model_runtime, on data of the same layout."""

    def __call__(self, model_folder: Path, data: Path, *, progress: Progress) -> Mapping[str, Any]:
        """Return the metrics as one JSON-able object."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model that this package can make.

    name: the model's name and folder. title: one line for `consilium-export list`.
    data_set: the folder's name under CONSILIUM_DATASETS_DIR. seed: the shipped model's seed.
    """

    name: str
    title: str
    data_set: str
    seed: int
    train: Train
    evaluate: Evaluate


def by_name(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """Return recipes by name. Raises ValueError when two claim one name: neither may replace the other."""
    table = {recipe.name: recipe for recipe in recipes}
    if len(table) != len(recipes):
        raise ValueError("two recipes claim the same model name")
    return table
