"""`consilium serve`: one ready line, children that come back, a clean end."""

import fcntl
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
from consilium.settings import load_settings
from consilium.supervise import Supervisor, children_state
from tests.serving import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with running_server(folder, {"WEB_WORKERS": "1", "HL7_PORT": "0"}) as running:
        yield running


def _wait_for(condition, within_s: float = 60.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def _ready(server: RunningServer) -> bool:
    try:
        return httpx.get(f"{server.base_url}/readyz", trust_env=False, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def test_every_check_passes_on_a_fresh_data_folder(server: RunningServer) -> None:
    body = httpx.get(f"{server.base_url}/readyz", trust_env=False, timeout=60).json()
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


def test_children_that_died_leave_no_files_of_metrics_and_what_they_counted_stays(
    server: RunningServer, folder: Path
) -> None:
    def served() -> float:
        text = httpx.get(f"{server.base_url}/metrics", trust_env=False, timeout=60).text
        return float(text.split('consilium_http_requests_total{route="/livez",status="200"} ')[1].splitlines()[0])

    def counting() -> set[int]:
        return {int(one.stem.rpartition("_")[2]) for one in (folder / "data/run/metrics").glob("counter_*.db")}

    def kill(role: str) -> None:
        killed = int(str(children_state(folder / "data")[role]["pid"]))
        os.kill(killed, signal.SIGKILL)
        _wait_for(lambda: (children_state(folder / "data") or {})[role]["pid"] not in {killed, None})
        _wait_for(lambda: _ready(server))

    httpx.get(f"{server.base_url}/livez", trust_env=False, timeout=60)
    before = served()
    web = int(str(children_state(folder / "data")["web"]["pid"]))
    (answered,) = map(int, Path(f"/proc/{web}/task/{web}/children").read_text().split())
    assert answered in counting()
    kill("web")
    _wait_for(lambda: not _alive(answered))  # its parent is dead, which it sees in a moment
    kill("hl7")  # whoever starts folds what others have left
    httpx.get(f"{server.base_url}/livez", trust_env=False, timeout=60)
    assert served() == before + 1
    assert 0 in counting()
    assert answered not in counting()


def test_a_second_server_on_the_same_port_leaves_the_first_as_it_is(
    server: RunningServer, folder: Path, tmp_path: Path
) -> None:
    port = server.base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "consilium", "serve", "--data-dir", str(tmp_path), "--http-port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "CONSILIUM_HTTP_PORT" in done.stderr
    assert children_state(folder / "data") is not None
    assert _ready(server)


def test_a_second_server_on_the_same_folder_is_refused_and_leaves_the_first_as_it_is(
    server: RunningServer, folder: Path
) -> None:
    ports = ["--http-port", "0", "--dicom-port", "0"]
    command = [sys.executable, "-m", "consilium", "serve", "--data-dir", str(folder / "data"), *ports]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "CONSILIUM_DATA_DIR: another `consilium serve` runs in this folder" in done.stderr
    assert children_state(folder / "data") is not None
    assert _ready(server)


def test_a_worker_beside_the_server_needs_a_name_of_its_own(server: RunningServer, folder: Path) -> None:
    command = [sys.executable, "-m", "consilium", "worker", "--data-dir", str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    pid = children_state(folder / "data")["worker"]["pid"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"consilium: CONSILIUM_EXECUTOR_ID: a worker named worker-1 runs in this data folder (process {pid}); "
        "end it, or give this one another name"
    )
    assert children_state(folder / "data")["worker"]["pid"] == pid
    assert _ready(server)


def test_metrics_are_served_in_prometheus_text(server: RunningServer) -> None:
    assert _ready(server)
    answer = httpx.get(f"{server.base_url}/metrics", trust_env=False, timeout=60)
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'consilium_http_requests_total{route="/readyz",status="200"}' in answer.text


def test_a_route_that_does_not_exist_is_an_operation_outcome(server: RunningServer) -> None:
    answer = httpx.get(f"{server.base_url}/nothing-here", trust_env=False, timeout=60)
    assert answer.status_code == 404
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.timed
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


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "serve.lock").mkdir()
    command = [sys.executable, "-m", "consilium", "serve", "--data-dir", str(tmp_path), "--http-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "CONSILIUM_DATA_DIR: its file serve.lock cannot be locked (Is a directory); "
        "the account that runs this has to own it, on a file system with locks\n"
    )


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
    with serving(tmp_path, {"WEB_WORKERS": "1"}) as running:
        pids = [int(str(child["pid"])) for child in (children_state(tmp_path / "data") or {}).values()]
        os.kill(running.pid, signal.SIGKILL)
        _wait_for(lambda: not any(_alive(pid) for pid in pids))


@pytest.mark.parametrize("role", ["web", "dicom", "worker"])
def test_a_server_starts_when_the_last_child_of_a_killed_one_has_ended(tmp_path: Path, role: str) -> None:
    with serving(tmp_path, {"WEB_WORKERS": "1"}) as killed:
        held = int(str((children_state(tmp_path / "data") or {})[role]["pid"]))
        os.kill(held, signal.SIGSTOP)
        os.kill(killed.pid, signal.SIGKILL)
        command = [sys.executable, "-m", "consilium", "serve", "--data-dir", str(tmp_path / "data")]
        port = killed.base_url.rpartition(":")[2]  # which the child still has
        second = subprocess.Popen(
            [*command, "--http-port", port, "--dicom-port", str(killed.dicom_port)],
            env=os.environ | {"CONSILIUM_WEB_WORKERS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            said = second.stderr.readline()
            assert "children of an earlier `consilium serve` end in this folder: " in said
            assert f"{role} (process {held})" in said
            assert (children_state(tmp_path / "data") or {})[role]["pid"] == held
            os.kill(held, signal.SIGCONT)
            assert json.loads(second.stdout.readline())["event"] == "ready"
            assert not _alive(held)
        finally:
            if _alive(held):
                os.kill(held, signal.SIGCONT)
            second.terminate()
            second.communicate(timeout=60)
        assert second.returncode == 0


def test_a_server_does_not_start_beside_children_that_do_not_end_and_says_which(tmp_path: Path, capsys) -> None:
    state = tmp_path / "run" / "children.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"web": {"pid": None}, "worker": {"pid": os.getpid()}}), encoding="utf-8")
    with (tmp_path / "children.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        settings = load_settings(data_dir=tmp_path, http_port=0)
        assert Supervisor(settings, {}, sys.stdout, ending_s=0.1).run() == 1
    running = f"worker (process {os.getpid()})"
    waits, refused = capsys.readouterr().err.splitlines()
    assert waits == f"children of an earlier `consilium serve` end in this folder: {running}; waiting for them"
    assert f"children of an earlier `consilium serve` still run in this folder: {running}; end them" in refused
    assert f"(kill -9 {os.getpid()})" in refused
    assert state.exists()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
