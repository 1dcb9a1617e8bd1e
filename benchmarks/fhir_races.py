"""Many clients ask for the same thing at once, of several web processes: nothing is made twice, one writer wins.

    python -m benchmarks.fhir_races [--clients 32] [--rounds 50] [--workers 2] [--postgres URL] [--json]

Each round: all clients send one create with the same If-None-Exist, and then one update each with If-Match of one
version. Of the creates exactly one may answer 201 and all must name one resource; of the updates exactly one may
answer 200 and the others 412 (409). At the end the store is counted.
"""

import argparse
import json
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.fhir_api import web
from benchmarks.timing import machine

FHIR_JSON = "application/fhir+json"


@dataclass
class Report:
    """What the rounds gave. wrong: in words, what must not be."""

    creates: Counter = field(default_factory=Counter)
    updates: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Clients that keep their connections and act at the same moment."""

    def __init__(self, port, count):
        self._links = [HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(count)]

    def at_once(self, method, path, body, headers):
        """Return (status, body) of each client's answer. body: by the number of the client."""
        answers, gate = [None] * len(self._links), threading.Barrier(len(self._links))

        def act(number, link):
            gate.wait()
            link.request(method, path, body(number), {"Content-Type": FHIR_JSON, **headers})
            answer = link.getresponse()
            answers[number] = (answer.status, json.loads(answer.read()))

        threads = [threading.Thread(target=act, args=pair) for pair in enumerate(self._links)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if None in answers:
            raise SystemExit("a client got no answer")
        return answers


def race(port, clients, rounds):
    """Run the rounds against a server; return the report."""
    report, together = Report(), Clients(port, clients)
    for number in range(rounds):
        identifier = [{"system": "urn:oid:1.2.3", "value": f"r{number}"}]
        new = json.dumps({"resourceType": "Patient", "identifier": identifier})
        condition = {"If-None-Exist": f"identifier=urn:oid:1.2.3|r{number}"}
        made = together.at_once("POST", "/fhir/Patient", lambda _number, new=new: new, condition)
        report.creates.update(status for status, _ in made)
        ids = {body.get("id") for _, body in made}
        if sum(status == 201 for status, _ in made) != 1 or len(ids) != 1:
            report.wrong.append(f"round {number}: creates {Counter(status for status, _ in made)}, {len(ids)} ids")
            continue
        (own,) = ids

        def written(client, own=own, identifier=identifier):
            name = [{"family": f"Writer {client}"}]
            return json.dumps({"resourceType": "Patient", "id": own, "identifier": identifier, "name": name})

        wrote = together.at_once("PUT", f"/fhir/Patient/{own}", written, {"If-Match": 'W/"1"'})
        report.updates.update(status for status, _ in wrote)
        counts = Counter(status for status, _ in wrote)
        if counts[200] != 1 or counts.keys() - {200, 409, 412}:
            report.wrong.append(f"round {number}: updates {counts}")
    link = HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("GET", "/fhir/Patient?_summary=count")
    total = json.loads(link.getresponse().read())["total"]
    if total != rounds:
        report.wrong.append(f"{total} Patients of {rounds} rounds")
    return report


def run(clients, rounds, workers, database=None):
    """Start a server of so many web processes and race on it. database: an empty one by URL, else SQLite."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((folder / "web.log").open("wb"))
        port = stack.enter_context(web(folder / "data", workers, log, database))
        return race(port, clients, rounds)


def main():
    """Race and say what came of it; exit with 1 when something was made twice or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--postgres", metavar="URL", help="an empty database; else SQLite in a temporary folder")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    report = run(given.clients, given.rounds, given.workers, given.postgres)
    print(machine())
    print(json.dumps(vars(report)) if given.json else report)
    raise SystemExit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
