"""What the settings say of models reaches every process that has any: trusted keys, device, fall back."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clinical.errors import Fault
from consilium.doctor import examine
from consilium.settings import load_settings
from consilium.web_parts import build_parts
from consilium.wiring import House, prepare_storage
from consilium.worker_role import build_worker
from model_export.testing import write_tiny_risk, write_tiny_segmentation
from model_runtime.engine import Policy

pytestmark = pytest.mark.usefixtures("no_settings")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
UNSIGNED = "is not signed by a trusted key"


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A house that trusts one key, with a model that it signed and one that nobody did."""
    models = tmp_path / "models"
    signed = write_tiny_risk(models)
    write_tiny_segmentation(models)
    signature = KEY.sign((signed / "manifest.json").read_bytes())
    (signed / "manifest.sig").write_bytes(base64.b64encode(signature))
    settings = load_settings(
        data_dir=tmp_path / "data",
        low_water_mb=0,
        models_dir=models,
        required_models=["diabetes-risk", "lung-nodule"],
        model_keys=[PUBLIC],
        http_port=0,
        dicom_port=0,
    )
    prepare_storage(settings)
    return House(settings)


def test_the_web_process_is_not_ready_with_an_unsigned_model(house: House) -> None:
    problems = build_parts(house).readiness().problems
    assert problems["models"] == f"the manifest of model lung-nodule {UNSIGNED}"


def test_the_worker_closes_no_study_with_an_unsigned_image_model(house: House) -> None:
    worker = build_worker(house)
    try:
        assert worker.models.manifest("diabetes-risk")
        with pytest.raises(Fault, match=UNSIGNED):
            worker.models.manifest("lung-nodule")
    finally:
        worker.jobs.close()
        worker.decoder.close()


def test_the_doctor_names_an_unsigned_model(house: House) -> None:
    assert UNSIGNED in examine(house.settings)["models"].text


def test_the_doctor_says_which_models_would_run_on_the_cpu_for_want_of_a_gpu(house: House) -> None:
    wanted = {"model_provider": "cuda", "model_cpu_fallback": True, "model_keys": ()}
    found = examine(house.settings.model_copy(update=wanted))["models"]
    assert not found.wrong
    assert found.text in {"", "CUDA does not start: diabetes-risk, lung-nodule would run on the CPU"}


def test_the_worker_runs_models_where_the_settings_say(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, model_provider="cuda", model_cpu_fallback=True)
    placement = House(settings).placement
    assert (placement.policy, placement.cpu_permitted) == (Policy.CUDA, True)
    assert not House(load_settings(data_dir=tmp_path, model_provider="cuda")).placement.cpu_permitted
