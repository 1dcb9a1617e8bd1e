"""Worker processes for test_jobs.py.

    python job_worker.py <database url> <executor id> <folder> <silence in s>    one worker
    python job_worker.py                     forks one for every line of these words, and answers with its number

A worker writes a line for every begin and end of a step, synced before it goes on. It kills itself at the points
listed in <folder>/kills, one kill a line ("infer enter", "infer inside"); a job called "poison" kills it always.
A job called "long" takes three times the silence. It ends when <folder>/stop appears.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from record_store.database import open_database
from record_store.dbos_port import load_dbos
from record_store.job_steps import StepRetry
from record_store.jobs import JobEngine


class Steps:
    """The steps of a worker, and what they log."""

    def __init__(self, executor_id, folder, silence_s):
        self.executor_id, self.folder, self.silence_s = executor_id, folder, silence_s

    def append(self, *words):
        with (self.folder / "log").open("a") as file:
            print(*words, self.executor_id, time.time(), file=file, flush=True)
            os.fsync(file.fileno())

    def maybe_die(self, point):
        kills = (self.folder / "kills").read_text().splitlines()
        if kills and kills[0] == point:
            (self.folder / "kills").write_text("\n".join(kills[1:]))
            self.append("kill", point.replace(" ", "-"), "-")
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self, name):
        def run(job_key, previous):
            self.maybe_die(f"{name} enter")
            self.append(job_key, name, "begin")
            self.maybe_die(f"{name} inside")
            if job_key == "poison" and name == "infer":
                os.kill(os.getpid(), signal.SIGKILL)
            if job_key == "long" and name == "infer":
                time.sleep(3 * self.silence_s)
            self.append(job_key, name, "end")
            return {"path": [*previous["path"], name]}

        return name, run

    def on_failure(self, job_key, category, message):
        self.append(job_key, "failed", category)


def listening_sockets():
    mine = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists() or fd.is_symlink()}
    tables = [Path("/proc/self/net") / name for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return [row for row in rows if f"socket:[{row[9]}]" in mine and row[3] == "0A"]  # 0A: LISTEN


def work(url, executor_id, folder, silence_s):
    steps = Steps(executor_id, Path(folder), float(silence_s))
    db = open_database(url)
    engine = JobEngine(
        db,
        executor_id,
        [steps.step(name) for name in ("read", "infer", "encode", "publish")],
        steps.on_failure,
        poll_s=0.05,
        silence_s=steps.silence_s,
        retry=StepRetry(first_s=0.05),
        max_starts=3,
    )
    engine.start()
    steps.append("worker", "started", str(len(listening_sockets())))
    while not (steps.folder / "stop").exists():
        time.sleep(0.05)
    engine.stop()
    db.dispose()


def nursery():
    """Fork workers from this process, which has imported everything and opened nothing."""
    load_dbos()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they vanish when they die
    for line in sys.stdin:
        words = line.split()
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        said = os.open(Path(words[2]) / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        try:
            work(*words)
        finally:
            if error := sys.exc_info()[1]:
                traceback.print_exception(error)
            os._exit(error is not None)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
    else:
        nursery()
