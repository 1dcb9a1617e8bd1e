"""Whoever forks the receivers may be killed: another one comes, and nobody who sends objects has noticed."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# A process with one receiver. With a number it is who forks for another one, in a fresh interpreter.
HOUSE = """
import os, signal, socket, subprocess, sys, threading, time
import structlog
from dicom_node.receivers import Handed, Receivers
from dicom_node.zygote import serve_forks
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
def serve(channel):
    channel.send({"ready": True})
    while "stop" not in (message := channel.receive().message):
        channel.send({"brought": message["serve"], "study": str(os.getpid())})
if len(sys.argv) > 1:
    serve_forks(int(sys.argv[1]), serve)
    os._exit(0)
def say(*words):
    print(" ".join(map(str, words)) + "\\n", end="", flush=True)
def fresh(descriptor):
    command = [sys.executable, __file__, str(descriptor)]
    return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)
def soon(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
def forked_by(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            found += map(int, open(f"/proc/{pid}/task/{task}/children").read().split())
        except FileNotFoundError:  # a thread that has ended meanwhile
            pass
    return found
def kill(pid):
    os.kill(pid, signal.SIGKILL)
def is_gone(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
def taken(receivers):
    served = threading.Event(), []
    one, other = socket.socketpair()
    def brought(by):
        served[1].append(int(by))
        served[0].set()
    is_taken = receivers.take(one, Handed("CT1", "", 0, [], b"", b"", brought, lambda *_: None))
    other.close()
    if not is_taken:
        one.close()
        return None
    assert served[0].wait(20)
    return served[1][0]
deaths = []
def see(seen):
    deaths.extend([seen.died] if seen.died else [])
"""


@pytest.fixture
def ran(tmp_path):
    """Run a script in a process of its own; return what it says and what is logged."""

    def run(script):
        (tmp_path / "house.py").write_text(HOUSE + script)
        command = [sys.executable, str(tmp_path / "house.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    return run


def test_who_forks_is_replaced_at_once_when_it_is_killed_and_receivers_go_on(ran):
    said, logged = ran("""
receivers = Receivers(1, serve, see, fresh)
(zygote,) = forked_by(os.getpid())
(first,) = receivers.pids
kill(zygote)
soon(lambda: (now := forked_by(os.getpid())) and now != [zygote])
say("the same", taken(receivers) == first)
kill(first)
soon(lambda: receivers.pids and receivers.pids != [first])
(second,) = receivers.pids
say("another", taken(receivers) == second)
(now,) = forked_by(os.getpid())
say("forked", forked_by(now) == [second])
kill(second)
soon(lambda: receivers.pids and receivers.pids != [second])
say(*deaths)
last = [now, *receivers.pids]
receivers.stop(5)
say("gone", all(map(is_gone, last)), forked_by(os.getpid()))
""")
    assert said == ["the same True", "another True", "forked True", "unknown SIGKILL", "gone True []"]
    assert logged.count("who forks receiving processes has died") == 1


def test_receivers_that_die_while_nobody_forks_are_replaced_when_somebody_does_and_nobody_waits_for_it(ran):
    said, _ = ran("""
let_in = threading.Event()
def late(descriptor):
    let_in.wait(20)
    return fresh(descriptor)
receivers = Receivers(2, serve, see, late)
kill(*forked_by(os.getpid()))
killed = list(receivers.pids)
for pid in killed:
    kill(pid)
soon(lambda: len(deaths) == 2)
say("here", taken(receivers), taken(receivers))
let_in.set()
soon(lambda: len(receivers.pids) == 2)
say("there", taken(receivers) in receivers.pids)
receivers.stop(5)
""")
    assert said == ["here None None", "there True"]


def test_an_interpreter_that_does_not_come_up_is_tried_again_ever_more_seldom(ran):
    said, logged = ran("""
begun = []
def broken(descriptor):
    begun.append(time.monotonic())
    if len(begun) == 1:
        raise OSError(12, "Cannot allocate memory")
    if len(begun) < 4:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], pass_fds=[descriptor])
    return fresh(descriptor)
receivers = Receivers(1, serve, see, broken)
first = receivers.pids[0]
kill(*forked_by(os.getpid()))
kill(first)
soon(lambda: receivers.pids and receivers.pids != [first])
say("paused", begun[2] - begun[1] >= 0.5, begun[3] - begun[2] >= 1.0, taken(receivers) is not None)
receivers.stop(5)
""")
    assert said == ["paused True True True"]
    assert logged.count("who forks receiving processes did not start") == 3
    assert "Cannot allocate memory" in logged


def test_a_stop_waits_for_no_interpreter_that_is_starting(ran):
    said, logged = ran("""
started = []
def hangs(descriptor):
    started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[descriptor]))
    return started[-1]
receivers = Receivers(1, serve, see, hangs)
kill(*forked_by(os.getpid()))
soon(lambda: started)
receivers.stop(5)
say("gone", is_gone(started[0].pid), forked_by(os.getpid()))
""")
    assert said == ["gone True []"]
    assert "did not start" not in logged


def test_a_stop_waits_for_no_receiver_that_would_come_when_somebody_forks(ran):
    said, logged = ran("""
begun = []
def hangs(descriptor):
    begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[descriptor]))
    return begun[-1]
receivers = Receivers(1, serve, see, hangs)
(first,) = receivers.pids
kill(*forked_by(os.getpid()))
kill(first)
soon(lambda: begun and deaths)
receivers.stop(3600)
say("stopped", is_gone(begun[0].pid))
""")
    assert said == ["stopped True"]
    assert "did not start" not in logged


def test_a_fresh_interpreter_ends_with_the_process_that_listens(ran):
    said, _ = ran("""
house = os.fork()
if house == 0:
    receivers = Receivers(1, serve, see, fresh)
    first = receivers.pids[0]
    kill(*forked_by(os.getpid()))
    kill(first)
    soon(lambda: receivers.pids and receivers.pids != [first])
    say(*forked_by(os.getpid()), *receivers.pids)
    kill(os.getpid())
os.waitpid(house, 0)
""")
    pids = list(map(int, said[0].split()))
    assert len(pids) == 2
    done = subprocess.run(
        [sys.executable, "-c", HOUSE.replace("len(sys.argv) > 1", "False") + _ALL_GONE, *map(str, pids)],
        check=False,
    )
    assert done.returncode == 0


_ALL_GONE = "soon(lambda: all(is_gone(int(pid)) for pid in sys.argv[1:]))"
