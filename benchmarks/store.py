"""C-STORE of durable objects on one and on several associations, against Orthanc, in turns on one machine.

    python -m benchmarks.store --objects 200 --associations 1 4

Both answer after flushing the object to the disk (Orthanc by default). The sender is storescu of dcmtk. A ratio is
ours to theirs: above 1 we are faster.
"""

import argparse
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from consilium.demo.server import running_server
from dicom_node.testing import dx_dataset, write_dicom


def make_objects(folder: Path, count: int, size_px: int, round_: str) -> list[Path]:
    """Write `count` radiographs of size_px x size_px 16-bit noise, all of one study."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 4096, (size_px, size_px), dtype=np.uint16)
    study = dx_dataset(pixels, seed=round_).StudyInstanceUID
    files = []
    for number in range(count):
        pixels[0, :2] = number >> 8, number & 255
        ds = dx_dataset(pixels, seed=f"{round_}-{number}", StudyInstanceUID=study)
        files.append(write_dicom(ds, folder / f"{round_}-{number:04d}.dcm"))
    return files


def send(files: list[Path], port: int, called: str, associations: int) -> float:
    """Send the files over that many associations at once; return objects a second."""
    parts = [files[first::associations] for first in range(associations)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen(["storescu", "-aec", called, "127.0.0.1", str(port), *map(str, part)]) for part in parts
    ]
    if any(sender.wait() for sender in senders):
        raise SystemExit("an object was not taken")
    return len(files) / (time.perf_counter() - began)


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Run Orthanc with its storage in `folder` and yield its DICOM port."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "DicomPort": ports[0],
        "HttpPort": ports[1],
        "DicomAet": "ORTHANC",
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stderr=subprocess.DEVNULL)
    try:
        while subprocess.run(["echoscu", "127.0.0.1", str(ports[0])], capture_output=True, check=False).returncode:
            time.sleep(0.2)
        yield ports[0]
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Run the rounds and print one JSON line for each number of associations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).resolve()
        settings = {"STUDY_QUIET_S": "3600", "WEB_WORKERS": "1"}
        with orthanc(folder / "orthanc") as theirs, running_server(folder, settings) as ours:
            for associations in given.associations:
                rates: dict[str, list[float]] = {"ours": [], "orthanc": []}
                for number in range(given.rounds):
                    files = make_objects(folder, given.objects, given.size_px, f"{associations}-{number}")
                    rates["orthanc"].append(send(files, theirs, "ORTHANC", associations))
                    rates["ours"].append(send(files, ours.dicom_port, "CONSILIUM", associations))
                    for file in files:
                        file.unlink()
                found = {peer: round(median(each), 1) for peer, each in rates.items()}
                ratio = round(found["ours"] / found["orthanc"], 2)
                print(json.dumps({"associations": associations, "objects_per_s": found, "ratio": ratio}))


if __name__ == "__main__":
    main()
