"""`consilium-export`: train, measure and check the models of `models/`."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from clinical.errors import ClinicalError
from model_export.datasets.radiograph import data_dir
from model_export.onnx.gate import ExportRefused
from model_export.recipe import Progress as Report
from model_export.recipe import Recipe, by_name
from model_export.recipes import RECIPES
from model_runtime.library import Library

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console()
problems = Console(stderr=True)

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set; else CONSILIUM_DATASETS_DIR/<set>.")
]
FolderArgument = Annotated[Path, typer.Argument(help="The model's folder, as models/<name>.", exists=True)]


@app.command("list")
def list_models() -> None:
    """Show what can be trained, and whether its data is here."""
    table = Table("model", "what", "data set", "here")
    for recipe in by_name(RECIPES).values():
        table.add_row(recipe.name, recipe.title, recipe.data_set, "yes" if data_dir(recipe.data_set) else "no")
    console.print(table)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A name that `list` shows.")],
    data: DataOption = None,
    out: Annotated[Path, typer.Option(help="Folder of models; <out>/<model> is replaced.")] = Path("models"),
    seed: Annotated[int | None, typer.Option(help="Default: the seed of the shipped model.")] = None,
) -> None:
    """Train a model and write its folder, if the export gate lets it through."""
    recipe = _recipe(model)
    with _reported(), _bar() as progress:
        folder = recipe.train(
            _data(recipe, data), out, seed=recipe.seed if seed is None else seed, progress=progress
        )
    console.print(f"written: {folder}")


@app.command()
def evaluate(
    folder: FolderArgument,
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Measure an exported model with the server's own runtime."""
    with _reported():
        folder = folder.resolve()
        recipe = _recipe(Library(folder.parent).manifest(folder.name).name)
        with _bar() as progress:
            result = recipe.evaluate(folder, _data(recipe, data), progress=progress)
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        console.print(_figures(result))


@app.command()
def verify(folder: FolderArgument) -> None:
    """Check digests, shapes and the golden output of a model folder, as the server does at load."""
    with _reported():
        folder = folder.resolve()
        manifest = Library(folder.parent).verify(folder.name).manifest
    console.print(f"{manifest.ref.label} is what its manifest says (sha256 {manifest.sha256[:12]}…)")


def main() -> None:
    """Entry point of the command `consilium-export`."""
    # TensorFlow writes dozens of lines about the machine before the first of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app()


def _recipe(name: str) -> Recipe:
    recipes = by_name(RECIPES)
    if name not in recipes:
        problems.print(f"there is no recipe named {name}; known: {', '.join(recipes)}")
        raise typer.Exit(2)
    return recipes[name]


def _data(recipe: Recipe, given: Path | None) -> Path:
    folder = given or data_dir(recipe.data_set)
    if folder is None or not folder.is_dir():
        problems.print(f"the data set {recipe.data_set} is not here: give --data or set CONSILIUM_DATASETS_DIR")
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
