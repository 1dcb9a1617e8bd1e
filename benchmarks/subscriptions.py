"""kill -9 of the workers that notify, at random moments while resources are written; then the count.

    python -m benchmarks.subscriptions --kills 50                SQLite
    python -m benchmarks.subscriptions --kills 50 --postgres     a PostgreSQL database of its own

Two workers match and send, and are killed and started again at random. AI results are created, amended and
deleted by one process, which keeps what was acknowledged; endpoints in another keep what arrived, and refuse one
message in twenty. When everything has come to rest: each version that a subscription asked for has arrived,
versions of a resource never in the wrong order, and a topic's numbers have no gap.
"""

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
from flask import Flask
from flask.testing import FlaskClient

from benchmarks.dicom_crash import in_a_process
from consilium.settings import Settings, load_settings
from consilium.wiring import House, prepare_storage
from fhir_adapters.rest import Fhir, blueprint
from fhir_adapters.subscriptions import topic
from fhir_adapters.subscriptions.backport import PAYLOAD_CONTENT
from fhir_adapters.subscriptions.testing import Arrived, receiving
from record_store import notifications, outbox, subscriptions
from record_store.testing import postgres_url

WORKERS = 2
LONGEST_LIFE_S = 1.6  # on the average a worker is killed in its first second
SETTLE_S = 120.0
RESOURCES = 40
REFUSED = 20  # one message in so many
PAUSE_S = 0.004
FHIR_JSON = "application/fhir+json"
AIAST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}
# By criteria with the resource, by criteria with a ping, and the topic.
SUBSCRIPTIONS = ("resources", "pings", "topic")


@dataclass(slots=True)
class Count:
    """What was found. The lists are empty when all is well.

    late_repeats: messages that came a second time after a newer one: a killed worker's last one, which the
    endpoint had taken in and not looked at when the next worker began.
    """

    database: str
    kills: int
    written: int = 0
    expected: dict[str, int] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    late_repeats: int = 0
    lost: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """True when everything arrived, and in its order."""
        return not (self.lost or self.disordered or self.unfinished)


@dataclass(frozen=True, slots=True)
class Log:
    """Lines that several processes append to a file."""

    path: Path

    def append(self, *words: object) -> None:
        """Write one line at once."""
        descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[list[str]]:
        """Return what was written, in words."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


def endpoints(log: Log, ready: int) -> None:
    """Take notifications for ever; say the port when ready. Runs in a process of its own."""
    draw = random.Random(3)

    def behave(message: Arrived) -> int:
        if draw.randrange(REFUSED) == 0:
            return 503
        for words in _told_by(message):
            log.append(*words)
        return 200

    with receiving() as receiver:
        receiver.behave = behave
        os.write(ready, f"{receiver.url}\n".encode())
        threading.Event().wait()


def _told_by(message: Arrived) -> Iterator[tuple[object, ...]]:
    """Yield what a message tells: subscription, resource, version or event number."""
    name, _, resource = message.path.strip("/").partition("/")
    if name == "resources":
        version = "gone" if message.method == "DELETE" else message.resource["meta"]["versionId"]
        yield name, resource.rpartition("/")[2], version
    elif name == "pings":
        yield name, "-", "-"
    else:
        for parameter in message.resource["entry"][0]["resource"]["parameter"]:
            parts = {part["name"]: part for part in parameter.get("part", ())}
            if parts:
                focus = parts["focus"]["valueReference"]["reference"].rpartition("/")[2]
                yield name, focus, parts["event-number"]["valueString"]


def writer(settings: Settings, log: Log) -> None:
    """Write for ever, and keep what was acknowledged. Runs in a process of its own."""
    client = client_of(settings)
    draw = random.Random(5)
    there: set[str] = set()
    while True:
        own = f"o{draw.randrange(RESOURCES)}"
        if draw.randrange(10) == 0 and own in there:
            reply = client.delete(f"/fhir/Observation/{own}")
            there.discard(own)
            said = "gone"
        else:
            reply = client.put(f"/fhir/Observation/{own}", data=observation(own), content_type=FHIR_JSON)
            there.add(own)
            said = reply.headers["ETag"].strip('W/"')
        if reply.status_code >= 400:
            raise RuntimeError(f"a write was refused with {reply.status_code}")
        log.append("written", own, said)
        time.sleep(PAUSE_S)


def observation(own: str) -> bytes:
    """Return an AI's result: each version but deletions is an event of the topic (amended)."""
    return orjson.dumps(
        {
            "resourceType": "Observation",
            "id": own,
            "meta": {"security": [AIAST]},
            "status": "amended",
            "code": {"coding": [{"system": "http://loinc.org", "code": "4548-4"}]},
        }
    )


def client_of(settings: Settings) -> FlaskClient:
    """Return a client of the FHIR API over this store, without a socket."""
    house = House(settings)
    app = Flask("subscriptions-benchmark")
    fhir = Fhir(
        db=house.db,
        now=lambda: datetime.now(UTC),
        new_id=lambda: uuid.uuid4().hex,
        page_key=b"k" * 32,
        base_url=f"{house.base_url}/fhir",
        endpoints=settings.endpoints,
    )
    app.register_blueprint(blueprint(fhir))
    return app.test_client()


def subscribe(settings: Settings, url: str) -> None:
    """Ask for everything, in three ways."""
    content = {"extension": [{"url": PAYLOAD_CONTENT, "valueCode": "id-only"}]}
    channels = {
        "resources": {"payload": FHIR_JSON},
        "pings": {},
        "topic": {"payload": FHIR_JSON, "_payload": content},
    }
    client = client_of(settings)
    for name, channel in channels.items():
        asked = {
            "resourceType": "Subscription",
            "id": name,
            "status": "requested",
            "reason": "benchmark",
            "criteria": topic.CANONICAL if name == "topic" else "Observation?code=http://loinc.org|4548-4",
            "channel": {"type": "rest-hook", "endpoint": f"{url}/{name}", **channel},
        }
        reply = client.put(f"/fhir/Subscription/{name}", data=orjson.dumps(asked), content_type=FHIR_JSON)
        if reply.status_code != 201:
            raise RuntimeError(f"a Subscription was refused with {reply.status_code}")


def work(settings: Settings) -> None:
    """Match and notify for ever, as a worker does."""
    from consilium.subscribing import subscribing_of  # noqa: PLC0415 - prometheus wants its folder first

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    for loop in subscribing_of(House(settings), threading.Event()).loops:
        loop.start()
    threading.Event().wait()


def storm(per_worker: list[Settings], kills: int, seed: int) -> None:
    """Kill so many workers at random moments, each started again at once; leave them running."""
    draw = random.Random(seed)
    running = [_start(settings) for settings in per_worker]
    try:
        for _ in range(kills):
            time.sleep(draw.uniform(0, LONGEST_LIFE_S / len(running)))
            number = draw.randrange(len(running))
            _end(running[number])
            running[number] = _start(per_worker[number])
    finally:
        for pid in running:
            _end(pid)


def _start(settings: Settings) -> int:
    return in_a_process(lambda: work(settings))


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def settle(per_worker: list[Settings], count: Count) -> None:
    """Let the workers finish what is left; each takes up at once what it had a lease of."""
    house, running = House(per_worker[0]), [_start(settings) for settings in per_worker]
    deadline = time.monotonic() + SETTLE_S
    try:
        while (waiting := _waiting(house)) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        for pid in running:
            _end(pid)
    with house.db.read() as conn:
        statuses = {one.id: one.status for one in subscriptions.every(conn)}
    house.db.dispose()
    count.unfinished += [waiting] if waiting else []
    count.unfinished += [f"{name} is {status}" for name, status in statuses.items() if status != "active"]


def _waiting(house: House) -> str:
    with house.db.read() as conn:
        events = sum(number for (_, state), number in notifications.counts(conn).items() if state == "pending")
    return f"{events} events wait" if events else "the outbox is not empty" if outbox.waiting(house.db) else ""


def examine(written: Log, arrived: Log, count: Count) -> None:
    """Compare what was acknowledged with what arrived."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for _, own, said in written.lines():
        wanted[own].append(said)
    told: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in SUBSCRIPTIONS}
    for name, own, said in arrived.lines():
        told[name][own].append(said)
    versions = sum(map(len, wanted.values()))
    results = sum(said != "gone" for all_said in wanted.values() for said in all_said)
    count.written = versions
    count.expected = {"resources": versions, "pings": versions, "topic": results}
    count.arrived = {name: sum(map(len, told[name].values())) for name in SUBSCRIPTIONS}
    count.repeated = {name: count.arrived[name] - count.expected[name] for name in SUBSCRIPTIONS}
    for own, all_said in wanted.items():
        _compare(own, all_said, told["resources"][own], count)
    if count.arrived["pings"] < versions:
        count.lost.append(f"{versions - count.arrived['pings']} pings")
    numbers = [int(said) for all_said in told["topic"].values() for said in all_said]
    count.lost += [f"topic event {number}" for number in set(range(1, results + 1)) - set(numbers)]
    for own, all_said in told["topic"].items():
        if _first_of_each(all_said) != sorted(set(all_said), key=int):
            count.disordered.append(f"topic {own}")


def _compare(own: str, wanted: list[str], told: list[str], count: Count) -> None:
    """Walk along what was written with what arrived: the next one, or one that has arrived before."""
    place = -1
    for said in told:
        if wanted[place + 1 : place + 2] == [said]:
            place += 1
        elif said not in wanted[: place + 1]:
            count.disordered.append(f"resources {own}: {said} after {wanted[place] if place >= 0 else 'nothing'}")
            return
        else:
            count.late_repeats += said != wanted[place]
    if place + 1 < len(wanted):
        count.lost.append(f"resources {own}: {wanted[place + 1 :]}")


def _first_of_each(said: list[str]) -> list[str]:
    return list(dict.fromkeys(said))


@contextmanager
def _database(*, postgres: bool) -> Iterator[dict[str, object]]:
    if not postgres:
        yield {}
        return
    with postgres_url() as url:
        yield {"database_url": url}


@contextmanager
def _process(run: Callable[[], None]) -> Iterator[None]:
    pid = in_a_process(run)
    try:
        yield
    finally:
        _end(pid)


def run(*, kills: int, postgres: bool, seed: int = 1) -> Count:
    """Carry out one run and return what was counted."""
    count = Count("postgresql" if postgres else "sqlite", kills)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, _database(postgres=postgres) as where:
        folder = Path(name)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = name
        importlib.import_module("consilium.subscribing")  # here, and not by every process that is forked
        written, arrived = Log(folder / "written"), Log(folder / "arrived")
        readable, writable = os.pipe()
        with _process(lambda: endpoints(arrived, writable)):
            url = os.read(readable, 200).decode().strip()
            given = where | {
                "data_dir": folder / "data",
                "subscription_endpoints": (url,),
                "delivery_first_wait_s": 0.05,
                "delivery_attempts": 100,
            }
            per_worker = [load_settings(executor_id=f"w{number}", **given) for number in range(WORKERS)]
            per_worker[0].data_dir.mkdir()
            prepare_storage(per_worker[0])
            subscribe(per_worker[0], url)
            with _process(lambda: writer(per_worker[0], written)):
                storm(per_worker, kills, seed)
            settle(per_worker, count)
        examine(written, arrived, count)
    count.seconds = round(time.monotonic() - began, 1)
    return count


def main() -> None:
    """Run and print the counts as JSON; exit code 1 when something was lost, out of order or left undone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    count = run(kills=given.kills, postgres=given.postgres, seed=given.seed)
    print(json.dumps(asdict(count)))
    sys.exit(0 if count.well else 1)


if __name__ == "__main__":
    main()
