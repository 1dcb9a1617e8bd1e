"""How long a viewer waits for a CT study by DICOMweb: search, metadata of every slice, frames, all objects.

`python -m benchmarks.dicomweb_read [--slices 200] [--json]`: an archive of its own in a temporary folder, asked in
this process without a network; medians of five in milliseconds of the clock and of the processor, and how far the
memory grew.
"""

import argparse
import json
import logging
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import structlog

from clinical.identity import IssuerTable
from dicom_node.intake import Intake
from dicom_node.query.indexing import HeaderIndex
from dicom_node.testing import cr_dataset
from dicom_node.web import Archive
from dicom_node.web.testing import app_of
from record_store.blobs import open_blobs
from record_store.testing import database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TIMES = 5
PER_REQUEST = 50  # objects of one store request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), given.slices)
    print(json.dumps(found) if given.json else "\n".join(f"{name:28} {value}" for name, value in found.items()))


def measured(folder: Path, slices: int) -> dict[str, float]:
    db = database(folder)
    blobs = open_blobs(f"file://{folder / 'blobs'}", folder / "staging")
    index = HeaderIndex(db, blobs, lambda: NOW)
    intake = Intake(db, blobs, IssuerTable({"": "urn:h"}), lambda: NOW)
    archive = Archive(db, blobs, "http://here/dicom-web", intake=intake, catch_up=index.catch_up)
    client = app_of(archive).test_client()
    study, series, instances = store(client, slices)
    path = f"/dicom-web/studies/{study}"
    octets = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
    stored = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = {
        "search_ms": lambda: client.get(f"/dicom-web/studies?StudyInstanceUID={study}").data,
        "metadata_first_ms": lambda: first(client, f"{path}/series/{series}/metadata", archive),
        "metadata_again_ms": lambda: client.get(f"{path}/series/{series}/metadata").data,
        "first_frame_ms": lambda: frame(client, path, series, instances[0], octets),
        "all_frames_ms": lambda: [frame(client, path, series, one, octets) for one in instances],
        "all_objects_ms": lambda: sum(map(len, client.get(path, headers=stored).response)),
    }
    took = {}
    for name, ask in asked.items():
        took[name], took[name.replace("_ms", "_cpu_ms")] = medians_ms(ask)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"slices": slices, **took, "memory_grown_mb": round(grown, 1)}


def first(client, path, archive) -> int:
    """Ask for metadata that was not asked for before."""
    archive.metadata.forget()
    return len(client.get(path).data)


def frame(client, path, series, instance, headers) -> int:
    answer = client.get(f"{path}/series/{series}/instances/{instance}/frames/1", headers=headers)
    assert answer.status_code == 200
    return len(answer.data)


def store(client, slices: int) -> tuple[str, str, list[str]]:
    """Store a study of slices of 512 x 512 by STOW-RS; return its UIDs."""
    rng = np.random.default_rng(1)
    made, uids = [], []
    for number in range(slices):
        ds = cr_dataset(rng.integers(0, 4096, (512, 512)).astype(np.uint16), seed="benchmark")
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        made.append(ds)
        uids.append(str(ds.SOPInstanceUID))
        if len(made) == PER_REQUEST or number == slices - 1:
            post(client, made)
            made = []
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), uids


def post(client, objects) -> None:
    body = BytesIO()
    for ds in objects:
        body.write(b"--b\r\nContent-Type: application/dicom\r\n\r\n")
        ds.save_as(body, enforce_file_format=True, overwrite=True)
        body.write(b"\r\n")
    body.write(b"--b--\r\n")
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    answer = client.post("/dicom-web/studies", data=body.getvalue(), headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text


def medians_ms(ask) -> tuple[float, float]:
    walls, processors = [], []
    for _ in range(TIMES):
        wall, processor = time.perf_counter(), time.process_time()
        assert ask()
        walls.append((time.perf_counter() - wall) * 1000)
        processors.append((time.process_time() - processor) * 1000)
    return round(statistics.median(walls), 1), round(statistics.median(processors), 1)


if __name__ == "__main__":
    main()
