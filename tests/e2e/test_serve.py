"""`consilium serve`: one ready line, children that come back, a clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consilium.demo.server import RunningServer, running_server
from consilium.supervise import children_state

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder, {"WEB_WORKERS": "1", "HL7_PORT": "0"}) as running:
        yield running


def _wait_for(condition, within_s: float = 20.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def _ready(server: RunningServer) -> bool:
    try:
        return httpx.get(f"{server.base_url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_every_check_passes_on_a_fresh_data_folder(server: RunningServer) -> None:
    body = httpx.get(f"{server.base_url}/readyz", trust_env=False).json()
    assert body == {
        "status": "ready",
        "checks": dict.fromkeys(("database", "migrations", "models", "blobs", "children"), "ok"),
    }


@pytest.mark.parametrize("role", ["web", "dicom", "worker", "hl7"])
def test_a_child_that_is_killed_comes_back_on_the_same_port(
    server: RunningServer, folder: Path, role: str
) -> None:
    before = children_state(folder / "data")
    assert before is not None
    os.kill(int(str(before[role]["pid"])), signal.SIGKILL)

    def restarted() -> bool:
        state = (children_state(folder / "data") or {})[role]
        return state["state"] == "ready" and state["pid"] != before[role]["pid"]

    _wait_for(restarted)
    assert children_state(folder / "data")[role]["restarts"] == before[role]["restarts"] + 1
    _wait_for(lambda: _ready(server))
    with socket.create_connection(("127.0.0.1", server.dicom_port), timeout=5):
        pass


def test_a_second_server_on_the_same_port_leaves_the_first_as_it_is(server: RunningServer, folder: Path) -> None:
    port = server.base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "consilium", "serve", "--data-dir", str(folder / "data"), "--http-port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "CONSILIUM_HTTP_PORT" in done.stderr
    assert children_state(folder / "data") is not None
    assert _ready(server)


def test_metrics_are_served_in_prometheus_text(server: RunningServer) -> None:
    assert _ready(server)
    answer = httpx.get(f"{server.base_url}/metrics", trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'consilium_http_requests_total{route="/readyz",status="200"}' in answer.text


def test_a_route_that_does_not_exist_is_an_operation_outcome(server: RunningServer) -> None:
    answer = httpx.get(f"{server.base_url}/nothing-here", trust_env=False)
    assert answer.status_code == 404
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_it_forgets_an_earlier_run_prints_one_line_and_stops_within_ten_seconds(tmp_path: Path) -> None:
    earlier = tmp_path / "run" / "metrics" / "counter_1.db"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "consilium",
            "serve",
            "--http-port",
            "0",
            "--dicom-port",
            "0",
            "--data-dir",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"event", "http_port", "dicom_port"}
    assert not earlier.exists()
    pids = [child["pid"] for child in (children_state(tmp_path) or {}).values()]
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=15) == 0
    assert time.monotonic() - began < 10
    assert process.stdout.read() == b""
    process.stdout.close()
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "consilium", "serve", "--http-port", str(port), "--data-dir", str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert "CONSILIUM_HTTP_PORT" in done.stderr
    assert done.stdout == ""


def test_bad_settings_stop_start_up_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "consilium", "serve", "--data-dir", str(tmp_path)],
        env=os.environ | {"CONSILIUM_PACS": "not json"},
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 78
    assert "CONSILIUM_PACS: expected JSON" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    with running_server(tmp_path, {"WEB_WORKERS": "1"}) as running:
        pids = [int(str(child["pid"])) for child in (children_state(tmp_path / "data") or {}).values()]
        os.kill(running.pid, signal.SIGKILL)
        _wait_for(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
