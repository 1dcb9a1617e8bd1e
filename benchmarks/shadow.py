"""A whole server: the shipped radiograph model live on one device, its next version in shadow on another.

    python -m benchmarks.shadow --live cpu --shadow cuda --studies 21

From the last image's acknowledgement to the archive's of the SEG, as benchmarks/study.py has it, then what
`consilium study compare` says of the two. The worker says on which device it runs what is live; a model that is to
run on CUDA and cannot reads nothing, which ends this with an error. One JSON object.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from sqlalchemy import func, select

from benchmarks.crash import make_studies
from benchmarks.study import QUIET_S, figures, listening
from consilium.demo.server import running_server
from dicom_node.testing import send_files
from record_store.database import open_database
from record_store.tables import shadow_model, shadow_study

SHIPPED = Path(__file__).parents[1] / "models" / "lung-nodule"
NEXT = "99.0.0"
WITHIN_S = 120.0


def run(studies: int, live: str, shadow: str) -> dict[str, object]:
    """Push studies one after the other; return the live figures and the comparison."""
    with tempfile.TemporaryDirectory() as name, listening() as archive:
        folder = Path(name)
        live_version = next_version(folder / "shadow")
        rules = folder / "rules.toml"
        rules.write_text(f'version = 1\nshadow = ["lung-nodule@{NEXT}"]\n', encoding="utf-8")
        settings = {
            "STUDY_QUIET_S": str(QUIET_S),
            "WEB_WORKERS": "1",
            "PATIENT_ISSUERS": '{"": "urn:consilium:bench"}',
            "PACS": json.dumps([{"name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "PACS"}]),
            "MODEL_PROVIDER": live,
            "SHADOW_PROVIDER": shadow,
            "SHADOW_MODELS": str(folder / "shadow"),
            "RULES_FILE": str(rules),
        }
        files, acknowledged = make_studies(folder, studies), []
        with running_server(folder, settings) as server:
            data_dir = folder / "data"
            try:
                _count(data_dir, shadow_model, 1)  # from then on it reads what arrives
                for number, path in enumerate(files.values()):
                    send_files([path], server.dicom_port)
                    began = time.monotonic()
                    acknowledged.append(archive.segmentation(number) - began - QUIET_S)
                _count(data_dir, shadow_study, studies)
            except TimeoutError:
                sys.stderr.write(server.said_last())  # its folder is gone when somebody wants to look
                raise
            ran_on = devices(httpx.get(f"{server.base_url}/metrics", trust_env=False).text)
            versions = [f"lung-nodule@{one}" for one in (live_version, NEXT)]
            compared = _compared(data_dir, *versions)
    return {"live_ran_on": ran_on, "seg_acknowledged_ms": figures(acknowledged), "compared": compared}


def next_version(folder: Path) -> str:
    """Put the shipped model into a folder under another version; return the shipped one's."""
    shutil.copytree(SHIPPED, folder / "next")
    manifest = folder / "next" / "manifest.json"
    stated = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(stated | {"version": NEXT}), encoding="utf-8")
    return str(stated["version"])


def devices(metrics: str) -> list[str]:
    """Return the lines that say where a worker runs its models."""
    lines = metrics.splitlines()
    return [one for one in lines if one.startswith("consilium_model_device{") and one.endswith(" 1.0")]


def _count(data_dir: Path, table: object, wanted: int) -> None:
    """Wait until a table has so many rows: studies only those that are done."""
    query = select(func.count()).select_from(table)  # type: ignore[arg-type]
    if table is shadow_study:
        query = query.where(shadow_study.c.state == "done")
    db = open_database(f"sqlite:///{data_dir / 'consilium.db'}")
    until = time.monotonic() + WITHIN_S
    try:
        while time.monotonic() < until:
            with db.read() as conn:
                if conn.execute(query).scalar_one() >= wanted:
                    return
            time.sleep(0.2)
    finally:
        db.dispose()
    raise TimeoutError("the shadow did not read what came")


def _compared(data_dir: Path, live: str, shadow: str) -> dict[str, object]:
    command = [sys.executable, "-m", "consilium", "study", "compare", "--json"]
    named = ["--live", live, "--shadow", shadow, "--by", "benchmark", "--data-dir", str(data_dir)]
    said = subprocess.run([*command, *named], check=True, capture_output=True, text=True)
    told: dict[str, object] = json.loads(said.stdout)
    return told


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=21)
    parser.add_argument("--live", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--shadow", default="cuda", choices=("auto", "cpu", "cuda"))
    asked = parser.parse_args()
    print(json.dumps(run(asked.studies, asked.live, asked.shadow)))


if __name__ == "__main__":
    main()
