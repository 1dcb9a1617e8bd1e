"""A whole server: what dcmtk did to it is read through the FHIR API, exported, and cannot be altered unseen."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import httpx
import numpy as np
import pytest

from dicom_node.testing import CANARY_ID, CANARY_NAME, dx_dataset, write_dicom
from tests.serving import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def server(folder):
    if shutil.which("storescu") is None:
        pytest.skip("storescu is not installed")
    callers = json.dumps({"CT1": ["127.0.0.0/8"]})
    with serving(folder, {"WEB_WORKERS": "1", "CALLING_AES": callers}) as running:
        yield running


def call(program, server, *more, calling="CT1"):
    command = [program, "-aet", calling, "-aec", "CONSILIUM", "127.0.0.1", str(server.dicom_port), *more]
    return subprocess.run(command, timeout=60, check=False, capture_output=True).returncode


def audit_events(server, **query):
    """Return the AuditEvents that are found, as soon as there are some."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        bundle = httpx.get(f"{server.base_url}/fhir/AuditEvent", params=query, trust_env=False, timeout=60).json()
        if bundle.get("entry"):
            return [entry["resource"] for entry in bundle["entry"]]
        time.sleep(0.2)
    raise AssertionError("there are none")


def consilium(folder, *command):
    environ = {**os.environ, "CONSILIUM_DATA_DIR": str(folder / "data")}
    run = [sys.executable, "-m", "consilium", "audit", *command]
    return subprocess.run(run, env=environ, capture_output=True, text=True, timeout=100, check=False)


def test_a_c_store_a_refusal_and_their_seal_are_seen_from_outside(server, folder, tmp_path):
    image = dx_dataset(np.full((64, 64), 7, np.uint16), PatientName=CANARY_NAME, PatientID=CANARY_ID)
    assert call("storescu", server, str(write_dicom(image, tmp_path / "image.dcm"))) == 0
    assert call("echoscu", server, calling="STRANGER") != 0

    (stored,) = audit_events(server, type="110104", altid="CT1")
    assert stored["entity"][-1]["what"]["identifier"]["value"] == f"urn:oid:{image.StudyInstanceUID}"
    (refused,) = audit_events(server, type="110113")
    assert refused["outcomeDesc"] == "calling AE title is not in the table"
    assert "anary" not in json.dumps([stored, refused])

    exported = [json.loads(line) for line in consilium(folder, "export").stdout.splitlines()]
    assert {stored["id"], refused["id"]} <= {one["id"] for one in exported}
    whole = consilium(folder, "verify")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    with closing(sqlite3.connect(folder / "data" / "consilium.db")) as db, db:
        db.execute("UPDATE audit SET actor = 'ae:SOMEBODY' WHERE action = 'exchange:refused'")
    assert consilium(folder, "verify").returncode == 1
