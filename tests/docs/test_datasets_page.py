"""docs/datasets.md is what the loaders say; every loader says what a user must know."""

import importlib
from pathlib import Path

import pytest

from model_export.datasets_page import MODELS, YOURS, loaders, page

TOP = Path(__file__).parents[2]
SETS = {
    *("applewatch_fitbit_lab", "breast_usg", "brfss2015_5050", "bus_bra", "cbis_ddsm_records", "fitbit_hr"),
    *("lidc_drr", "nhanes_2009_2012", "nhanes_diabetes", "nih_chestxdet", "nih_cxr621", "pima"),
    "sylhet_early_diabetes",
}


def test_the_page_is_what_the_loaders_say() -> None:
    written = (TOP / "docs" / "datasets.md").read_text("utf-8")
    assert written == page(), "write it anew: python -m model_export.datasets_page"


def test_each_of_the_thirteen_sets_and_of_what_users_bring_has_a_loader() -> None:
    assert {loader.name for loader in loaders()} == SETS | set(YOURS)


@pytest.mark.parametrize("loader", loaders(), ids=lambda loader: loader.name)
def test_a_loader_states_licence_citation_and_files(loader) -> None:
    assert min(map(len, (loader.what, loader.licence, loader.citation))) > 8
    assert loader.layout
    assert all(isinstance(need, str) for need in loader.layout)
    text = (TOP / "docs" / "datasets.md").read_text("utf-8")
    if loader.name in YOURS:
        assert f"### `{loader.name}`\n\n{loader.what}.\n" in text
    else:
        assert f"| `{loader.name}` | {loader.what} | {loader.licence} |" in text


@pytest.mark.export
def test_the_models_of_the_page_are_those_of_the_recipes() -> None:
    pytest.importorskip("sklearn", reason="needs the export extra")
    recipes = importlib.import_module("model_export.recipes").RECIPES
    named = {data_set: recipe.name for recipe in recipes for data_set in recipe.data_sets}
    assert {name: named[name] for name in MODELS if name in named} == {n: MODELS[n] for n in MODELS if n in named}
    assert set(named) <= set(MODELS)
