"""CT slices over TLS beside the same without, to one node that listens for both, in turns.

    python -m benchmarks.dicom_secured                 ten rounds on one association and on four

Each turn has other objects. The first round is not counted: what a process does at its first object only is not
its rate. `ratio`: of objects a second, secured to plain in the same round, the median. The processor time is the
node's; for TLS the sender needs more as well.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.dicom_ingest import send
from benchmarks.dicom_objects import make_objects
from benchmarks.dicom_receivers import ours, running, used
from benchmarks.timing import machine
from tests.ports import free_port

SETTLE_S = 1.0
Round = dict[str, dict[str, float]]  # "plain", "secured" -> what was measured


def certificate(folder: Path) -> Path:
    """Return a file with a key and a certificate that believes in itself: both sides show and believe it here."""
    pem, cert = folder / "both.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    more = ["-subj", "/CN=localhost", "-days", "1", "-keyout", str(pem), "-out", str(cert)]
    subprocess.run([*command, *more], check=True, capture_output=True)
    pem.write_text(pem.read_text() + cert.read_text())
    return pem


def rounds(folder: Path, pem: Path, count: int, associations: int, wanted: int) -> Iterator[Round]:
    """Start a node and yield what was measured in each round, the first one left out. count: objects a turn."""
    port = free_port()
    files = {f"DICOM_TLS_{name}_FILE": str(pem) for name in ("CERT", "KEY", "CA")}
    node = ours("node", files | {"DICOM_TLS_PORT": str(port), "STUDY_QUIET_S": "3600"})
    with running(node, folder / "node") as (plain, pid):
        for number in range(wanted + 1):
            found: Round = {}
            turns = [("plain", plain, None), ("secured", port, pem)]
            for turn, (how, at, tls) in enumerate(turns[:: -1 if number % 2 else 1]):
                objects = folder / f"{number}-{how}"
                total = make_objects(objects, "ct", count, (2 * number + turn) * count)
                before = used(pid)
                seconds = send("replay", node, at, objects, associations, tls)
                time.sleep(SETTLE_S)  # what it still does after its last response is its work too
                cpu = used(pid).cpu_s - before.cpu_s
                found[how] = {"objects_s": count / seconds, "cpu_s_per_gb": cpu / (total / 1e9)}
            if number:
                yield found


def main() -> None:
    """Run the rounds; print a line for each, and for each number of associations one of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--objects", type=int, default=60, help="in each turn")
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is to be measured")
    given = parser.parse_args()
    for associations in given.associations:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            folder, measured = Path(name).resolve(), []
            for one in rounds(folder, certificate(folder), given.objects, associations, given.rounds):
                measured.append(one)
                print(f"{associations} associations: {json.dumps(one)}", flush=True)
        ratio = median(one["secured"]["objects_s"] / one["plain"]["objects_s"] for one in measured)
        print(f"{associations} associations: ratio {ratio:.2f}", flush=True)
    print(machine(), flush=True)


if __name__ == "__main__":
    main()
