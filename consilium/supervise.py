"""`consilium serve`: web, dicom and worker under one parent, restarted when they die.

The parent holds the listening HTTP socket, so a web process that dies never takes the address with it. Each
child reports on a pipe when it serves; the parent then prints one JSON line with the real ports. What the
children are doing stands in `run/children.json`, which `/readyz` shows.
"""

import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from consilium.folder_locks import ENDING_S, lock, open_lock
from consilium.processes import lives
from consilium.settings import Settings
from consilium.starting import collect_from_now_on

ROLES = ("web", "dicom", "worker")
LISTENING = ("dicom", "hl7")  # those whose port the parent learns of and gives them again


def roles_of(settings: Settings) -> tuple[str, ...]:
    """Return the processes that these settings ask for."""
    return ROLES if settings.hl7_port is None else (*ROLES, "hl7")


STOP_WITHIN_S = 8.0  # the promise to the operator is 10 s
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
OTHERS_S, LOOK_S = 5.0, 0.05
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


def serve(settings: Settings) -> int:
    """Run all processes until SIGTERM or SIGINT; return the exit code."""
    environ = dict(os.environ) | {
        "CONSILIUM_DATA_DIR": str(settings.data_dir),
        "CONSILIUM_HTTP_PORT": str(settings.http_port),
        "CONSILIUM_DICOM_PORT": str(settings.dicom_port),
    }
    collect_from_now_on()
    return Supervisor(settings, environ, sys.stdout).run()


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


class _CannotStart(Exception):
    """Why not, for the operator."""


class Supervisor:
    """Starts the roles, restarts them with a growing delay, and stops them in order."""

    def __init__(
        self,
        settings: Settings,
        environ: dict[str, str],
        out: TextIO,
        monotonic: Callable[[], float] = time.monotonic,
        ending_s: float = ENDING_S,
    ) -> None:
        """ending_s: how long children of an earlier parent are waited for."""
        self._settings = settings
        self._environ = environ
        self._out = out
        self._now = monotonic
        self._ending_s = ending_s
        self._locks: list[int] = []  # the parent's, and the one that children hold too
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
            self._claim_folder()
            self._http = listening_socket(self._settings.http_host, self._settings.http_port)
        except _CannotStart as exc:
            self._say(str(exc))
        except OSError as exc:
            self._say(f"CONSILIUM_HTTP_PORT: cannot listen on it ({exc.strerror}); is another server running?")
        else:
            return self._run()
        self._leave_folder()
        return 1

    def _run(self) -> int:
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
        self._leave_folder()
        return failed

    def _leave_folder(self) -> None:
        for descriptor in self._locks:
            os.close(descriptor)

    def _claim_folder(self) -> None:
        """Keep the folder to this parent, and to its children as long as one of them lives. Raises _CannotStart.

        Two of them would be one worker to the jobs, which its name tells apart, and the state of the first is
        cleared away by the second. The children of a parent that was killed finish what they have in hand.
        """
        try:
            self._take_lock("serve.lock")
        except BlockingIOError:
            raise _CannotStart(
                "CONSILIUM_DATA_DIR: another `consilium serve` runs in this folder; name another one"
            ) from None
        try:
            self._take_lock("children.lock", self._ending_s)
        except BlockingIOError:
            raise _CannotStart(self._who_runs()) from None
        os.set_inheritable(self._locks[-1], True)

    def _take_lock(self, name: str, within_s: float = 0.0) -> None:
        try:
            self._locks.append(open_lock(self._settings.data_dir / name))
            lock(self._locks[-1], within_s, self._say_who_ends)
        except BlockingIOError:
            raise
        except OSError as exc:  # another account's file, or a network file system without locks
            raise _CannotStart(
                f"CONSILIUM_DATA_DIR: its file {name} cannot be locked ({exc.strerror}); "
                "the account that runs this has to own it, on a file system with locks"
            ) from None

    def _say_who_ends(self) -> None:
        children = _in_words(left_running(self._settings.data_dir))
        self._say(f"children of an earlier `consilium serve` end in this folder: {children}; waiting for them")

    def _who_runs(self) -> str:
        running = left_running(self._settings.data_dir)
        pids = " ".join(map(str, running.values()))
        what_to_do = f"kill -9 {pids}" if pids else f"fuser {self._settings.data_dir / 'children.lock'} names them"
        return (
            f"CONSILIUM_DATA_DIR: children of an earlier `consilium serve` still run in this folder: "
            f"{_in_words(running)}; end them ({what_to_do}), or name another one"
        )

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
            "CONSILIUM_LOCK_FD": str(self._locks[-1]),
        }
        if "port" in self._history[role].ports:
            environ[f"CONSILIUM_{role.upper()}_PORT"] = str(self._history[role].ports["port"])
        process = subprocess.Popen(
            [sys.executable, "-m", "consilium", role],
            env=environ,
            pass_fds=(write_fd, self._http.fileno(), self._locks[-1]),
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
        wait = wait_after(history.quick_deaths)
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


def _in_words(running: dict[str, int]) -> str:
    return ", ".join(f"{role} (process {pid})" for role, pid in running.items()) or "processes that it started"


def wait_after(quick_deaths: int) -> float:
    """Return how many seconds nobody comes again after so many deaths in a row, each soon after its start."""
    doubled = min(quick_deaths - 1, 60)  # a power of 1024 is an error: it would end all others with this one
    return 0.0 if quick_deaths == 0 else min(FIRST_WAIT_S * 2.0**doubled, LONGEST_WAIT_S)


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


def left_running(data_dir: Path) -> dict[str, int]:
    """Return the children that an earlier parent wrote down and that still live: role and process ID."""
    pids = {role: child["pid"] for role, child in (children_state(data_dir) or {}).items()}
    return {role: pid for role, pid in pids.items() if isinstance(pid, int) and lives(pid)}


def await_the_others(
    data_dir: Path, within_s: float = OTHERS_S, rest: Callable[[], None] = lambda: time.sleep(LOOK_S)
) -> None:
    """Leave the processors to the children that are still starting, for a while: what one does first can wait."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if all(child["state"] != "starting" for child in (children_state(data_dir) or {}).values()):
            return
        rest()


def folder_lock(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return the descriptor that keeps the folder of a `serve` while a child of it lives, to be handed on."""
    return (int(environ["CONSILIUM_LOCK_FD"]),) if "CONSILIUM_LOCK_FD" in environ else ()


def report_ready(environ: dict[str, str], **facts: object) -> None:
    """Tell the parent, if there is one, that this process serves; problem: what it cannot do all the same."""
    if fd := environ.get("CONSILIUM_STATUS_FD"):
        os.write(int(fd), json.dumps({"ready": True, **facts}).encode() + b"\n")


def is_orphan(environ: Mapping[str, str]) -> bool:
    """Tell whether the parent that this process would report to is gone: nobody has the other end of the pipe."""
    pipe = select.poll()
    pipe.register(int(environ["CONSILIUM_STATUS_FD"]), 0)
    return bool(pipe.poll(0))


def end_with_parent() -> None:
    """Arrange for SIGTERM when the parent dies, so that a killed `serve` leaves nothing running.

    Linux only (prctl PR_SET_PDEATHSIG); elsewhere a killed parent's children are the operator's to end.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))
