"""The npm client fhir-kit-client against the FHIR API: every one of its features that we offer, in node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from record_store.testing import database
from tests.fhir_adapters.live import live

pytestmark = pytest.mark.slow
KIT = "fhir-kit-client@2.0.3"
SCRIPT = Path(__file__).parent / "clients" / "fhir-kit.mjs"


@pytest.fixture
def kit(tmp_path):
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", KIT]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False).returncode != 0:
        pytest.skip(f"npm cannot install {KIT}")
    shutil.copy(SCRIPT, tmp_path)
    return tmp_path


def test_fhir_kit_client_finds_everything_that_it_asks_for(kit):
    db = database(kit)
    with live(db) as url:
        done = subprocess.run(
            ["node", SCRIPT.name, url], cwd=kit, capture_output=True, text=True, timeout=60, check=False
        )
    db.dispose()
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said == {
        "fhirVersion": "4.0.1",
        "smart": False,  # it is open: there is nowhere to get a token
        "created": 201,
        "conditionalCreate": [200, True],
        "transaction": ["201"] * 5,
        "batch": ["200", "404"],
        "pages": [2, 2, 1],
        "postSearch": 3,
        "compartment": 5,
        "included": ["match", "include"],
        "system": 1,
        "resolved": True,
        "patched": ["final", "2"],
        "updated": "amended",
        "stale": {"status": 412, "type": "OperationOutcome"},
        "vread": "preliminary",
        "history": 3,
        "typeHistory": 1,
        "everything": 6,
        "lastn": 1,
        "validate": ["Observation.status"],
        "wrong": {"status": 400, "type": "OperationOutcome"},
        "unknown": {"status": 400, "type": "OperationOutcome"},
        "deleted": {"status": 410, "type": "OperationOutcome"},
    }
