"""`consilium serve`: web, dicom and worker under one parent, restarted when they die.

The parent holds the listening HTTP socket, so a web process that dies never takes the address with it. Each
child reports on a pipe when it serves; the parent then prints one JSON line with the real ports. What the
children are doing stands in `run/children.json`, which `/readyz` shows.
"""

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from consilium.settings import Settings

ROLES = ("web", "dicom", "worker")
LISTENING = ("dicom", "hl7")  # those whose port the parent learns of and gives them again


def roles_of(settings: Settings) -> tuple[str, ...]:
    """Return the processes that these settings ask for."""
    return ROLES if settings.hl7_port is None else (*ROLES, "hl7")


STOP_WITHIN_S = 8.0  # the promise to the operator is 10 s
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
HEALTHY_AFTER_S = 5.0  # a child that served this long starts again without delay


@dataclass(slots=True)
class Child:
    """One process of ours and what we know about it."""

    role: str
    process: subprocess.Popen[bytes]
    status_fd: int
    ready_at: float | None = None
    port: int | None = None
    problem: str | None = None
    unread: bytes = b""


@dataclass(slots=True)
class History:
    """Restarts of one role. again_at: when to start it again, by the monotonic clock; None while it runs."""

    restarts: int = 0
    quick_deaths: int = 0
    again_at: float | None = None
    last_exit: int | None = None
    ports: dict[str, int] = field(default_factory=dict)


def listening_socket(host: str, port: int) -> socket.socket:
    """Bind and listen; OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
        sock.set_inheritable(True)
    except OSError:
        sock.close()
        raise
    return sock


class Supervisor:
    """Starts the roles, restarts them with a growing delay, and stops them in order."""

    def __init__(
        self,
        settings: Settings,
        environ: dict[str, str],
        out: TextIO,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._out = out
        self._now = monotonic
        self._children: dict[str, Child] = {}
        self._roles = roles_of(settings)
        self._history = {role: History() for role in self._roles}
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._announced = False
        self._state_file = settings.data_dir / "run" / "children.json"

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit code."""
        try:
            self._http = listening_socket(self._settings.http_host, self._settings.http_port)
        except OSError as exc:
            self._say(f"CONSILIUM_HTTP_PORT: cannot listen on it ({exc.strerror}); is another server running?")
            return 1
        # Only now: until here the folder may be that of the server that has the port.
        shutil.rmtree(self._state_file.parent, ignore_errors=True)  # its last run's state and counters
        self._state_file.parent.mkdir(parents=True)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        # The worker takes longest to start, so it goes first.
        for role in reversed(self._roles):
            self._start(role)
        failed = self._watch()
        self._stop_children()
        self._http.close()
        return failed

    def _watch(self) -> int:
        while not self._stopping:
            for key, _ in self._selector.select(timeout=0.1):
                self._read_status(self._children[key.data])
            for child in list(self._children.values()):
                if child.process.poll() is not None and self._ended(child):
                    return 1
            for role, history in self._history.items():
                if history.again_at is not None and self._now() >= history.again_at:
                    history.again_at = None
                    self._start(role)
        return 0

    def _start(self, role: str) -> None:
        read_fd, write_fd = os.pipe()
        environ = self._environ | {
            "CONSILIUM_STATUS_FD": str(write_fd),
            "CONSILIUM_HTTP_FD": str(self._http.fileno()),
            "CONSILIUM_HTTP_PORT": str(self._http.getsockname()[1]),
        }
        if "port" in self._history[role].ports:
            environ[f"CONSILIUM_{role.upper()}_PORT"] = str(self._history[role].ports["port"])
        process = subprocess.Popen(
            [sys.executable, "-m", "consilium", role],
            env=environ,
            pass_fds=(write_fd, self._http.fileno()),
            stdin=subprocess.DEVNULL,
        )
        os.close(write_fd)
        os.set_blocking(read_fd, False)
        self._children[role] = Child(role, process, read_fd)
        self._selector.register(read_fd, selectors.EVENT_READ, role)
        self._write_state()

    def _read_status(self, child: Child) -> None:
        data = os.read(child.status_fd, 4096)
        if not data:
            self._selector.unregister(child.status_fd)
            return
        *lines, child.unread = (child.unread + data).split(b"\n")
        for line in lines:
            report = json.loads(line)
            child.ready_at = child.ready_at or self._now()
            child.problem = report.get("problem")
            if child.role in LISTENING:
                child.port = self._history[child.role].ports["port"] = int(report["port"])
        self._write_state()
        self._announce()

    def _announce(self) -> None:
        if self._announced or any(self._children[role].ready_at is None for role in self._roles):
            return
        self._announced = True
        ready = {
            "event": "ready",
            "http_port": self._http.getsockname()[1],
            **{f"{role}_port": self._children[role].port for role in LISTENING if role in self._roles},
        }
        self._out.write(json.dumps(ready) + "\n")
        self._out.flush()

    def _ended(self, child: Child) -> bool:
        """Note a death and plan the restart; return True when start-up itself has failed."""
        history = self._history[child.role]
        history.last_exit = child.process.returncode
        self._forget(child)
        if not self._announced:
            code = child.process.returncode
            self._say(f"consilium {child.role} could not start (exit code {code}); see the lines above")
            return True
        served = 0.0 if child.ready_at is None else self._now() - child.ready_at
        history.restarts += 1
        history.quick_deaths = 0 if served > HEALTHY_AFTER_S else history.quick_deaths + 1
        wait = _wait_after(history.quick_deaths)
        history.again_at = self._now() + wait
        self._say(
            json.dumps(
                {
                    "event": "child ended",
                    "child": child.role,
                    "exit_code": child.process.returncode,
                    "restarts": history.restarts,
                    "wait_s": wait,
                }
            )
        )
        self._write_state()
        return False

    def _forget(self, child: Child) -> None:
        del self._children[child.role]
        if child.status_fd in self._selector.get_map():
            self._selector.unregister(child.status_fd)
        os.close(child.status_fd)

    def _write_state(self) -> None:
        state = {
            role: {
                "state": _state_of(self._children.get(role)),
                "pid": self._children[role].process.pid if role in self._children else None,
                "problem": self._children[role].problem if role in self._children else None,
                "restarts": history.restarts,
                "last_exit": history.last_exit,
            }
            for role, history in self._history.items()
        }
        part = self._state_file.with_suffix(".part")
        part.write_text(json.dumps(state), encoding="utf-8")
        part.replace(self._state_file)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _stop_children(self) -> None:
        for child in self._children.values():
            child.process.terminate()
        deadline = self._now() + STOP_WITHIN_S
        for child in self._children.values():
            try:
                child.process.wait(timeout=max(0.0, deadline - self._now()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            os.close(child.status_fd)
        self._selector.close()
        self._state_file.unlink(missing_ok=True)

    def _say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _wait_after(quick_deaths: int) -> float:
    return 0.0 if quick_deaths == 0 else min(FIRST_WAIT_S * 2.0 ** (quick_deaths - 1), LONGEST_WAIT_S)


def _state_of(child: Child | None) -> str:
    if child is None:
        return "restarting"
    return "starting" if child.ready_at is None else "ready"


def children_state(data_dir: Path) -> dict[str, dict[str, object]] | None:
    """Return what the parent wrote about its children, or None when there is no parent."""
    try:
        state: dict[str, dict[str, object]] = json.loads((data_dir / "run" / "children.json").read_bytes())
    except FileNotFoundError:
        return None
    return state


def report_ready(environ: dict[str, str], **facts: object) -> None:
    """Tell the parent, if there is one, that this process serves; problem: what it cannot do all the same."""
    if fd := environ.get("CONSILIUM_STATUS_FD"):
        os.write(int(fd), json.dumps({"ready": True, **facts}).encode() + b"\n")


def end_with_parent() -> None:
    """Arrange for SIGTERM when the parent dies, so that a killed `serve` leaves nothing running.

    Linux only (prctl PR_SET_PDEATHSIG); elsewhere a killed parent's children are the operator's to end.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))
