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


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """keep_trainer: keep the trainer's own file (.keras) beside the ONNX, under `trainer/`.

    quick: a model that only shows that the recipe runs, in seconds: for tests; its card says so.
    """

    keep_trainer: bool = False
    quick: bool = False


class Train(Protocol):
    """Train, export through the gate, and write the model's folder."""

    def __call__(
        self, data: Path | None, out: Path, *, seed: int, progress: Progress, options: TrainOptions
    ) -> Path:
        """data: the first data set's folder, as in shared/data/<set>; None for recipes that need none.

        out: the folder of models. Returns `out/<name>`. Raises ExportRefused when the gate refuses; then nothing
        was written. Raises clinical.errors.IncorrectInput when the data does not hold what the loader expects.
        """
        ...


class Evaluate(Protocol):
    """Measure an exported model, through model_runtime and the server's feature code, on data of known layout."""

    def __call__(
        self, folder: Path, data: Path | None, *, progress: Progress, plots: Path | None
    ) -> Mapping[str, Any]:
        """Return the figures as one JSON-able object.

        data: the folder of one set, or of several. A set that the model was trained on (by its digest) is
        answered with the out-of-fold figures of its manifest, any other is measured whole; "judged" says which.
        plots: where PNG and SVG files go, None for none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """One model that this package can make.

    name: the model's name and folder. title: one line for `consilium-export list`.
    data_sets: folder names under CONSILIUM_DATASETS_DIR that it trains and evaluates on, the main one first;
        empty when it needs no data (simulated, generated, or shipped by a package).
    seed: the shipped model's seed.
    """

    name: str
    title: str
    data_sets: tuple[str, ...]
    seed: int
    train: Train
    evaluate: Evaluate


def by_name(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """Return recipes by name. Raises ValueError when two claim one name: neither may replace the other."""
    table = {recipe.name: recipe for recipe in recipes}
    if len(table) != len(recipes):
        raise ValueError("two recipes claim the same model name")
    return table
