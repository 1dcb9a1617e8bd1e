"""C-STORE of CT slices and of radiographs on one and on four associations, beside Orthanc and dcmtk's storescp.

    python -m benchmarks.dicom_ingest --json           five rounds of everything (some minutes)
    python -m benchmarks.dicom_ingest --quick --json   one round of few objects

One interleaved run: in each round every receiver starts with a new folder and takes the same objects; before that
the disk is asked how many such files a second it can flush. Ours and Orthanc answer after flushing; storescp
and `ours_unflushed` do not. Ratios are of bytes a second, above 1 where ours is faster: medians of the rounds'.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.dicom_objects import KINDS, make_objects
from benchmarks.dicom_receivers import ORTHANC, STORESCP, Receiver, forget_peak, ours, running, used
from benchmarks.timing import machine

SETTLE_S = 1.0  # what a receiver still does after its last response is its work too
Rounds = dict[str, list[dict[str, float]]]  # receiver -> what was measured in each round


def flushes_per_s(folder: Path, size: int, count: int) -> float:
    """Return how many files of this many bytes can be made in a new folder and flushed in a second, one by one."""
    folder.mkdir()
    data, files = os.urandom(size), [folder / f"{number}" for number in range(count)]
    began = time.perf_counter()
    for path in files:
        with path.open("wb", buffering=0) as file:
            file.write(data)
            os.fdatasync(file.fileno())
    return count / (time.perf_counter() - began)


def send(
    sender: str, receiver: Receiver, port: int, objects: Path, associations: int, tls: Path | None = None
) -> float:
    """Send a folder's objects; return the seconds. SystemExit unless every one was answered with Success.

    tls: a certificate and its key, with which the replaying sender speaks TLS.
    """
    if sender == "dcmsend":
        return _dcmsend(receiver, port, objects, associations)
    command = [sys.executable, "-m", "benchmarks.dicom_sender", "--port", str(port), "--called", receiver.ae_title]
    command += ["--folder", str(objects), "--associations", str(associations)]
    command += ["--tls", str(tls)] if tls else []
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if said["refused"]:
        raise SystemExit(f"{receiver.name} refused {len(said['refused'])} objects: {said['refused'][0]}")
    seconds: float = said["seconds"]
    return seconds


def _dcmsend(receiver: Receiver, port: int, objects: Path, associations: int) -> float:
    files = [str(path) for path in sorted(objects.glob("*.dcm"))]
    command = ["dcmsend", "-v", "-aec", receiver.ae_title, "127.0.0.1", str(port)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen(
            [*command, *files[first::associations]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TCP_NODELAY": "1"},
        )
        for first in range(associations)
    ]
    said = b"".join(one.communicate()[0] for one in senders)
    seconds = time.perf_counter() - began
    taken = said.count(b"Received C-STORE Response (Success)")  # its exit code says nothing of single instances
    if taken != len(files):
        raise SystemExit(f"{receiver.name} took {taken} of {len(files)} objects")
    return seconds


def measure(
    receiver: Receiver, folder: Path, objects: Path, total: int, associations: int, sender: str
) -> dict[str, float]:
    """Start the receiver in a new folder, send once, and return its rate and what it used."""
    with running(receiver, folder) as (port, pid):
        time.sleep(SETTLE_S)  # what it prepares once it answers is not receiving
        forget_peak(pid)
        before = used(pid)
        seconds = send(sender, receiver, port, objects, associations)
        time.sleep(SETTLE_S)
        after = used(pid)
    return {
        "mb_s": total / 1e6 / seconds,
        "instances_s": len(list(objects.glob("*.dcm"))) / seconds,
        "cpu_s_per_gb": (after.cpu_s - before.cpu_s) / (total / 1e9),
        "rss_mb": before.own_mb + after.peak_mb - before.now_mb,
        "rss_growth_mb": after.peak_mb - before.now_mb,
    }


def summary(rounds: Rounds, flushes: list[float]) -> dict[str, Any]:
    """Return medians over the rounds: of ours, its ratios to the others in the same round, the others' rates."""

    def ratio(one: str, other: str, of: str = "mb_s") -> float | None:
        pairs = list(zip(rounds.get(one, ()), rounds.get(other, ()), strict=False))
        return round(median(mine[of] / theirs[of] for mine, theirs in pairs), 2) if pairs else None

    found: dict[str, Any] = {
        "ratio_orthanc": ratio("ours", "orthanc"),
        "ratio_storescp": ratio("ours_unflushed", "storescp"),
        "ratio_storescp_when_ours_flushes": ratio("ours", "storescp"),
    }
    found |= {name: _median(rounds["ours"], name) for name in rounds["ours"][0]}
    found["flushes_s"] = round(median(flushes), 1)
    found["of_flushes"] = round(
        median(mine["instances_s"] / rate for mine, rate in zip(rounds["ours"], flushes, strict=True)), 2
    )
    for name in rounds.keys() - {"ours"}:
        found[name] = {of: _median(rounds[name], of) for of in rounds[name][0]}
    return found


def _median(measured: list[dict[str, float]], name: str) -> float:
    return round(median(one[name] for one in measured), 2)


def receivers(unflushed: str | None) -> list[Receiver]:
    """Return ours and those that are installed; say on stderr which are not. unflushed: a setting, NAME=VALUE."""
    quiet = {"STUDY_QUIET_S": "3600"}
    found = [ours("ours", quiet)]
    for peer, package in ((ORTHANC, "orthanc"), (STORESCP, "dcmtk")):
        if peer.is_installed:
            found.append(peer)
        else:
            print(f"{peer.name} is not installed (Debian: apt-get install {package}): no ratio", file=sys.stderr)
    if unflushed:
        name, _, value = unflushed.partition("=")
        found.append(ours("ours_unflushed", quiet | {name: value}))
    return found


def main() -> None:
    """Run the rounds, print a line for each case, and at the end one JSON object when asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, help="how many of each kind (200 CT, 12 DX)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--sender", choices=("replay", "dcmsend"), default="replay")
    parser.add_argument("--unflushed", metavar="NAME=VALUE", help="the setting with which ours does not flush")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the objects")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is to be measured")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    peers, found = receivers(given.unflushed), {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name).resolve()
        for kind in given.kinds:
            count = given.objects or (KINDS[kind][0] // 10 + 3 if given.quick else KINDS[kind][0])
            total = make_objects(folder / kind, kind, count)
            found[kind] = {}
            for associations in given.associations:
                rounds: Rounds = defaultdict(list)
                flushes = []
                for number in range(1 if given.quick else given.rounds):
                    flushes.append(
                        flushes_per_s(
                            folder / f"{kind}-{associations}-{number}-flushes", total // count, min(count, 40)
                        )
                    )
                    for peer in peers[number % len(peers) :] + peers[: number % len(peers)]:
                        place = folder / f"{kind}-{associations}-{number}-{peer.name}"
                        one = measure(peer, place, folder / kind, total, associations, given.sender)
                        rounds[peer.name].append(one)
                found[kind][str(associations)] = case = summary(rounds, flushes)
                print(f"{kind}, {associations} associations: {json.dumps(case)}", flush=True)
    print(machine(), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
