"""A whole server with a model in shadow: the live result goes out, the shadow's nowhere, its end ends nobody."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from dicom_node.testing import dx_dataset, listening_ae, radiograph_phantom, send_files, write_dicom
from record_store.database import open_database
from record_store.tables import (
    delivery,
    reading,
    resource,
    result_object,
    shadow_model,
    shadow_reading,
    shadow_study,
)
from tests.serving import serving

pytestmark = pytest.mark.slow
SHIPPED = Path(__file__).parents[2] / "models" / "lung-nodule"
SHADOW = "lung-nodule@99.0.0"


def until(found, within_s=90.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The shipped model as its own next version: it finds what the live one finds."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(SHIPPED, folder / "next")
    manifest = folder / "next" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text("utf-8")) | {"version": "99.0.0"}), "utf-8")
    rules = folder / "rules.toml"
    rules.write_text(f'version = 1\nshadow = ["{SHADOW}"]\n')
    return {
        "STUDY_QUIET_S": "0.5",
        "WEB_WORKERS": "1",
        "PATIENT_ISSUERS": json.dumps({"": "urn:h"}),
        "SHADOW_MODELS": str(folder),
        "RULES_FILE": str(rules),
    }


def shadow_processes(data_dir: Path) -> list[int]:
    """Return the numbers of the processes that read in shadow for this folder."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[3:5] == [b"study", b"shadow"] and str(data_dir).encode() in words:
            found.append(int(one.parent.name))
    return found


def test_a_shadow_reads_beside_the_live_model_and_leaves_no_trace_outside_its_tables(settings, tmp_path) -> None:
    with listening_ae(ae_title="ARCHIVE") as archive:
        pacs = [{"name": "archive", "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE"}]
        with serving(tmp_path, settings | {"PACS": json.dumps(pacs)}) as house:
            data_dir = house.log.parent / "data"
            db = open_database(f"sqlite:///{data_dir / 'consilium.db'}")

            def count(table, *where) -> int:
                with db.read() as conn:
                    return conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

            def pushed(seed) -> str:
                pixels, truth = radiograph_phantom(3, rows=512, columns=512)
                ds = dx_dataset(pixels, spacing_mm=truth.spacing_mm, seed=seed)
                assert send_files([write_dicom(ds, tmp_path / "image.dcm")], house.dicom_port) == [0]
                return str(ds.StudyInstanceUID)

            until(lambda: count(shadow_model))  # from then on it reads what arrives
            (first,) = shadow_processes(data_dir)
            uid = pushed("one")
            until(lambda: count(shadow_study, shadow_study.c.state == "done"))
            assert os.getpriority(os.PRIO_PROCESS, first) > os.getpriority(os.PRIO_PROCESS, 0)
            until(lambda: count(delivery, delivery.c.state == "sent") == 2)
            with db.read() as conn:
                (row,) = conn.execute(select(shadow_reading))
            assert row.findings > 0, "otherwise there is nothing that could have leaked"
            assert (count(reading), count(result_object), count(delivery)) == (1, 2, 2)
            assert count(resource, resource.c.type == "DiagnosticReport") == 1
            with db.read() as conn:
                assert all(b"99.0.0" not in body for body in conn.execute(select(resource.c.body)).scalars())
            asked = {"StudyInstanceUID": uid}
            found = httpx.get(
                f"{house.base_url}/dicom-web/instances", params=asked, trust_env=False, timeout=60
            ).json()
            assert len(found) == 1 + count(result_object)

            os.kill(first, signal.SIGKILL)
            pushed("two")
            until(lambda: count(reading) == 2)
            until(lambda: count(shadow_study, shadow_study.c.state == "done") == 2)
            (second,) = shadow_processes(data_dir)
            assert second != first
            db.dispose()
        until(lambda: not shadow_processes(data_dir))
