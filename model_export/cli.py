"""`consilium-export`: train, measure, check, compare and sign the models of `models/`."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from clinical.errors import ClinicalError
from model_export.compare import compare as compare_manifests
from model_export.datasets.folders import data_dir
from model_export.onnx.gate import ExportRefused
from model_export.recipe import Progress as Report
from model_export.recipe import Recipe, TrainOptions, by_name
from model_export.recipes import RECIPES
from model_runtime.library import Library
from model_runtime.manifest import MANIFEST_FILE, load_manifest

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console()
problems = Console(stderr=True)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of a data set, or of several; else CONSILIUM_DATASETS_DIR/<set>."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
FolderArgument = Annotated[Path, typer.Argument(help="The model's folder, as models/<name>.", exists=True)]
ModelArgument = Annotated[str, typer.Argument(help="The model's folder, or a name that `list` shows.")]


@app.command("list")
def list_models() -> None:
    """Show what can be trained, and whether its data is here."""
    table = Table("model", "what", "data sets", "here")
    for recipe in by_name(RECIPES).values():
        here = [bool(data_dir(name)) for name in recipe.data_sets]
        said = "needs none" if not here else "yes" if all(here) else "in part" if any(here) else "no"
        table.add_row(recipe.name, recipe.title, ", ".join(recipe.data_sets), said)
    console.print(table)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name that `list` shows.")],
    data: DataOption = None,
    out: Annotated[Path, typer.Option(help="Folder of models; <out>/<model> is replaced.")] = Path("models"),
    seed: Annotated[int | None, typer.Option(help="Default: the seed of the shipped model.")] = None,
    keep_trainer: Annotated[bool, typer.Option(help="Keep the Keras file beside the ONNX, in trainer/.")] = False,
    quick: Annotated[bool, typer.Option(help="Seconds instead of minutes; only shows that it runs.")] = False,
) -> None:
    """Train a model and write its folder, if the export gate lets it through."""
    recipe = _recipe(model)
    with _reported(), _bar() as progress:
        folder = recipe.train(
            _data(recipe, data),
            out,
            seed=recipe.seed if seed is None else seed,
            progress=progress,
            options=TrainOptions(keep_trainer=keep_trainer, quick=quick),
        )
    console.print(f"written: {folder}")


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataOption = None,
    as_json: JsonOption = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the plots, as PNG and SVG.")] = None,
) -> None:
    """Measure an exported model with the server's own runtime and feature code.

    On data that the model was trained on, the figures are those of cross-validation, out of fold; on any other
    data of the same layout everybody is measured. "judged" says which.
    """
    with _reported():
        folder = _folder(model)
        recipe = _recipe(load_manifest(folder / MANIFEST_FILE).name)
        with _bar() as progress:
            result = recipe.evaluate(folder, _data(recipe, data), progress=progress, plots=plots)
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        console.print(_figures(result))


@app.command()
def verify(folder: FolderArgument) -> None:
    """Check digests, shapes and the golden output of a model folder, as the server does at load."""
    with _reported():
        folder = folder.resolve()
        library = Library(folder.parent)
        graphs = library.verify_all(folder.name)
        manifest = library.manifest(folder.name)
    said = ", ".join(f"{name} (sha256 {manifest.graph(name).sha256[:12]}…)" for name in graphs)
    console.print(f"{manifest.ref.label} is what its manifest says: {said}")


@app.command()
def compare(old: FolderArgument, new: FolderArgument) -> None:
    """Show what changed between two versions of a model: figures, intervals, thresholds, inputs."""
    with _reported():
        before, after = (load_manifest(folder / MANIFEST_FILE) for folder in (old, new))
    found = compare_manifests(before, after)
    table = Table("figure", f"{before.ref.label}", f"{after.ref.label}", "difference", "")
    for row in found.figures:
        apart = "intervals apart" if row.apart else ""
        table.add_row(row.name, f"{row.old:g}", f"{row.new:g}", f"{row.new - row.old:+.4g}", apart)
    console.print(table)
    for note in found.notes:
        console.print(f"- {note}")
    if not found.same_data:
        console.print("The two were trained on other data: a difference may come from there.")


@app.command()
def keygen(private_key: Annotated[Path, typer.Argument(help="Where the new private key goes (PEM).")]) -> None:
    """Make an Ed25519 key to sign models with; prints the public key for CONSILIUM_MODEL_KEYS."""
    from model_export.signing import new_key  # noqa: PLC0415

    with _reported():
        typer.echo(new_key(private_key))


@app.command()
def sign(
    folder: FolderArgument, key: Annotated[Path, typer.Option(help="The private key (PEM).", exists=True)]
) -> None:
    """Sign a model folder's manifest; the server asks for it where CONSILIUM_MODEL_KEYS is set."""
    from model_export.signing import sign as sign_folder  # noqa: PLC0415

    with _reported():
        console.print(f"written: {sign_folder(folder, key)}")


def main() -> None:
    """Entry point of the command `consilium-export`."""
    # TensorFlow writes dozens of lines about the machine before the first of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The engine logs what it loads; `--json` owns standard output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    app()


def _recipe(name: str) -> Recipe:
    recipes = by_name(RECIPES)
    if name not in recipes:
        problems.print(f"there is no recipe named {name}; known: {', '.join(recipes)}")
        raise typer.Exit(2)
    return recipes[name]


def _folder(model: str) -> Path:
    """Return the folder that holds the manifest: what was given, or the model of that name under `models`."""
    shipped = Path(__file__).resolve().parents[1]
    places = (
        Path(model),
        Path("models") / model,
        shipped / "models" / model,
        shipped / "consilium" / "models" / model,
    )
    for place in places:
        if (place / MANIFEST_FILE).is_file():
            return place.resolve()
    problems.print(f"there is no model folder {model}, nor a model of that name under models/")
    raise typer.Exit(2)


def _data(recipe: Recipe, given: Path | None) -> Path | None:
    if given is None and not recipe.data_sets:
        return None
    folder = given or data_dir(recipe.data_sets[0])
    if folder is None or not folder.is_dir():
        wanted = " or ".join(recipe.data_sets)
        problems.print(
            f"the data of {recipe.name} ({wanted}) is not here: give --data or set CONSILIUM_DATASETS_DIR"
        )
        raise typer.Exit(2)
    return folder


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what was foreseen into one line and exit code 1; anything else is a fault with its traceback."""
    try:
        yield
    except ExportRefused as refused:
        problems.print(f"refused, nothing written: {'; '.join(refused.reasons)}")
        raise typer.Exit(1) from None
    except ClinicalError as error:
        problems.print(error.message)
        raise typer.Exit(1) from None


@contextmanager
def _bar() -> Iterator[Report]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=problems) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)


def _figures(result: Mapping[str, Any], prefix: str = "") -> Table:
    table = Table("figure", "value")
    for name, value in _leaves(result, prefix):
        table.add_row(name, str(value))
    return table


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    main()
