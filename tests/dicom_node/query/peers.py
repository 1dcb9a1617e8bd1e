"""Other people's programs on free ports of loopback, ended by their process id."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

ENVIRON = {**os.environ, "TCP_NODELAY": "1"}  # dcmtk waits 40 ms for each answer without it


def program(name):
    """Return the path of a peer's program, or skip with the reason (with CI=true: fail)."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found


@contextmanager
def running(command, port, **more):
    """Run a program until it listens, and end it afterwards."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRON, **more)
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the program ended"
            assert time.monotonic() < until, "the program does not listen"
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said(*command, **more):
    """Run a program to its end and return everything that it printed."""
    done = subprocess.run(
        [program(command[0]), *map(str, command[1:])],
        check=False, capture_output=True, timeout=100, env=ENVIRON, text=True, errors="replace", **more,
    )  # fmt: skip
    return done.stdout + done.stderr
