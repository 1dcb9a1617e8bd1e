"""Which models may read in shadow: by name and version, several of one beside each other."""

import json
import shutil
from pathlib import Path

import pytest

from clinical.errors import NotFound, PreconditionMissing
from consilium.doctor import _shadow_models
from consilium.settings import SettingsError, load_settings
from consilium.shadow.models import shadow_models_of
from consilium.wiring import House

SHIPPED = Path(__file__).parents[3] / "models" / "lung-nodule"


def with_version(folder: Path, version: str) -> Path:
    """Copy the shipped model under another version."""
    made = folder / f"lung-{version}"
    made.mkdir(parents=True)
    for file in SHIPPED.glob("*.*"):
        shutil.copy(file, made)
    manifest = json.loads((made / "manifest.json").read_text("utf-8"))
    (made / "manifest.json").write_text(json.dumps(manifest | {"version": version}), encoding="utf-8")
    return made


@pytest.fixture
def folder(tmp_path):
    for version in ("8.0.0", "9.0.0"):
        with_version(tmp_path / "shadow", version)
    return tmp_path / "shadow"


def test_versions_of_one_model_stand_side_by_side_and_beside_the_live_one(tmp_path, folder, no_settings) -> None:
    models = shadow_models_of(House(load_settings(data_dir=tmp_path, shadow_models=folder)))
    assert models.named("lung-nodule@9.0.0").manifest().version == "9.0.0"
    assert models.named("breast-lesion").manifest().name == "breast-lesion"
    with pytest.raises(PreconditionMissing, match="several versions"):
        models.named("lung-nodule")
    with pytest.raises(NotFound, match=r"lung-nodule@9\.0\.0"):
        models.named("lung-nodule@7.0.0")


def test_a_rule_may_name_only_versions_that_are_there(tmp_path, folder, no_settings) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('version = 1\nshadow = ["lung-nodule@9.0.0"]\n')
    settings = load_settings(data_dir=tmp_path, shadow_models=folder, rules_file=rules)
    assert settings.rules().shadow == ("lung-nodule@9.0.0",)
    with pytest.raises(SettingsError, match="expected NAME@VERSION"):
        load_settings(data_dir=tmp_path, rules_file=rules)


def test_the_doctor_says_which_model_could_not_read(tmp_path, folder, no_settings) -> None:
    settings = load_settings(data_dir=tmp_path, shadow_models=folder)
    assert not _shadow_models(House(settings)).wrong
    with (folder / "lung-9.0.0" / "model.onnx").open("ab") as file:
        file.write(b"x")
    found = _shadow_models(House(settings))
    assert found.wrong
    assert "lung-nodule@9.0.0" in found.text
    assert "lung-nodule@8.0.0" not in found.text
