"""From the last image's acknowledgement to its result in the FHIR API, and to the archive's last object.

    python -m benchmarks.study --studies 8

Prints milliseconds beyond the quiet time (median, and all), with the model's own time beside it.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.crash import make_studies
from consilium.demo.server import running_server
from dicom_node.testing import listening_ae, send_files

QUIET_S = 0.5


def run(studies: int) -> dict[str, object]:
    """Push studies one after the other and return the figures; the first is the cold one."""
    with tempfile.TemporaryDirectory() as name, listening_ae() as archive:
        folder = Path(name)
        files = make_studies(folder, studies)
        settings = {
            "STUDY_QUIET_S": str(QUIET_S),
            "PATIENT_ISSUERS": '{"": "urn:consilium:bench"}',
            "PACS": json.dumps([{"name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "PACS"}]),
        }
        with (
            running_server(folder, settings) as server,
            httpx.Client(base_url=server.base_url, trust_env=False) as http,
        ):
            visible, delivered = [], []
            for number, path in enumerate(files.values(), start=1):
                send_files([path], server.dicom_port)
                began = time.monotonic()
                while (
                    len(http.get("/fhir/DiagnosticReport", params={"_count": "100"}).json().get("entry", []))
                    < number
                ):
                    time.sleep(0.005)
                visible.append(time.monotonic() - began - QUIET_S)
                while sum(ds.Modality == "SR" for ds in archive.objects) < number:
                    time.sleep(0.005)
                delivered.append(time.monotonic() - began - QUIET_S)
            infer = _step_seconds(http.get("/metrics").text, "infer") / studies
        ready_ms = server.started_ms
    return {
        "start_to_ready_ms": ready_ms,
        "result_visible_ms": _figures(visible),
        "delivered_ms": _figures(delivered),
        "infer_step_ms_mean": round(infer * 1000, 1),
    }


def _figures(seconds: list[float]) -> dict[str, object]:
    millis = [round(1000 * value) for value in seconds]
    return {"cold": millis[0], "median_warm": statistics.median(millis[1:] or millis), "all": millis}


def _step_seconds(text: str, step: str) -> float:
    wanted = f'consilium_step_seconds_sum{{step="{step}"}} '
    return next(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=8)
    print(json.dumps(run(parser.parse_args().studies)))


if __name__ == "__main__":
    main()
