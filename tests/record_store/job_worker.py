"""A worker process for test_jobs.py: python job_worker.py <database url> <executor id> <folder> <silence in s>.

Writes a line for every begin and end of a step, synced before it goes on. Kills itself at the points listed
in <folder>/kills, one kill a line ("infer enter", "infer inside"); a job called "poison" kills it always.
A job called "long" takes three times the silence. Ends when <folder>/stop appears.
"""

import os
import signal
import sys
import time
from pathlib import Path

from record_store.database import open_database
from record_store.job_steps import StepRetry
from record_store.jobs import JobEngine

url, executor_id, folder, silence_s = sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])


def append(*words):
    with (folder / "log").open("a") as file:
        print(*words, executor_id, time.time(), file=file, flush=True)
        os.fsync(file.fileno())


def maybe_die(point):
    kills = (folder / "kills").read_text().splitlines()
    if kills and kills[0] == point:
        (folder / "kills").write_text("\n".join(kills[1:]))
        append("kill", point.replace(" ", "-"), "-")
        os.kill(os.getpid(), signal.SIGKILL)


def step(name):
    def run(job_key, previous):
        maybe_die(f"{name} enter")
        append(job_key, name, "begin")
        maybe_die(f"{name} inside")
        if job_key == "poison" and name == "infer":
            os.kill(os.getpid(), signal.SIGKILL)
        if job_key == "long" and name == "infer":
            time.sleep(3 * silence_s)
        append(job_key, name, "end")
        return {"path": [*previous["path"], name]}

    return name, run


def on_failure(job_key, category, message):
    append(job_key, "failed", category)


def listening_sockets():
    mine = {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists() or fd.is_symlink()}
    tables = [Path("/proc/self/net") / name for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return [row for row in rows if f"socket:[{row[9]}]" in mine and row[3] == "0A"]  # 0A: LISTEN


db = open_database(url)
steps = [step(name) for name in ("read", "infer", "encode", "publish")]
engine = JobEngine(
    db,
    executor_id,
    steps,
    on_failure,
    poll_s=0.05,
    silence_s=silence_s,
    retry=StepRetry(first_s=0.05),
    max_starts=3,
)
engine.start()
append("worker", "started", str(len(listening_sockets())))
while not (folder / "stop").exists():
    time.sleep(0.05)
engine.stop()
db.dispose()
