"""How fast hooks are answered, beside HealthChain in the same run, with and without tokens.

    python -m benchmarks.cds_hooks [--seconds 4] [--rounds 3] [--peer PYTHON] [--json]

Our server is `consilium web` as it is shipped (gunicorn, its own worker class, logs at INFO, audit and sent cards
in SQLite, benchmark services on), with 1 and with 2 workers. The peer is HealthChain's own default server, one
process; PYTHON is an interpreter that has the package `healthchain`, by default this one; without it ours is
measured alone. Servers are measured in turns within each round, and the median round is kept. Figures are of this
machine and minute: trust the ratios, and look at the load; `cpu` is the server's processor time for one request.
"""

# ruff: noqa: PLC0415 - the driver's children need nothing of the server
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.hook_driver import Figure, Target, measure, request
from benchmarks.timing import machine
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PEER = "healthchain, 1 process"
ONE, TWO = "consilium, 1 worker", "consilium, 2 workers"
TOKENS = "consilium, 1 worker, tokens"
BASE = "https://cds.example"
START_S = 60.0
PIDS = {}  # port -> process of the server that listens there


@dataclass(frozen=True)
class Case:
    """One thing to measure. goals: by what DESIGN section 9 and the issue ask for, as text."""

    title: str
    service: str
    body: bytes
    connections: int
    goal: str


def hook_call(hook, **context):
    """Return a call of about 330 bytes, without the `extension` that HealthChain refuses."""
    return {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": "https://ehr.example/fhir-of-the-hospital-with-a-long-name/r4",
        "context": {"userId": "Practitioner/d1", "patientId": "p1", "encounterId": "e1", **context},
        "prefetch": {"patient": {"resourceType": "Patient", "id": "p1", "gender": "male"}},
    }


def observation(number):
    """Return one Observation of about 370 bytes."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "39156-5"}], "text": "A measurement"},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": f"2026-01-{number % 28 + 1:02d}T10:00:00Z",
        "valueQuantity": {
            "value": 31.2,
            "unit": "kg/m2",
            "system": "http://unitsofmeasure.org",
            "code": "kg/m2",
        },
    }


def cases():
    """Return what is measured against the peer."""
    small = json.dumps(hook_call("patient-view")).encode()
    large = hook_call("patient-view")
    entries = [{"resource": observation(number)} for number in range(200)]
    large["prefetch"]["observations"] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
    orders = {"resourceType": "Bundle", "type": "collection", "entry": []}
    slow = json.dumps(hook_call("order-sign", draftOrders=orders)).encode()
    big = json.dumps(large).encode()
    return (
        Case("trivial card", "bench-static", small, 1, "p50 < 5 ms with several workers"),
        Case("trivial card", "bench-static", small, 16, ">= 1.3x the peer, p99 <= 20 ms"),
        Case(f"prefetch of {len(big) // 1000} kB", "bench-static", big, 16, ">= 2x the peer"),
        Case("model of 50 ms", "bench-slow50", slow, 1, ""),
        Case("model of 50 ms", "bench-slow50", slow, 16, ">= 190 req/s, p50 <= 120 ms"),
    )


# Servers


@contextmanager
def server(command, environ, path, port, log):
    """Start a server and wait until it answers; end it afterwards."""
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    PIDS[port] = process.pid
    try:
        _await(process, f"http://127.0.0.1:{port}{path}")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _await(process, url):
    ends_at = time.monotonic() + START_S
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode} before it answered")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as refused:
            refused.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not start in time")


def ours(folder, workers, log, issuers=None, **more):
    """Return the context of `consilium web`, as it is shipped but for `more` settings, without their prefix."""
    port = free_port()
    settings = {
        "DATA_DIR": str(folder),
        "HTTP_PORT": str(port),
        "WEB_WORKERS": str(workers),
        "BENCHMARK_SERVICES": "1",
        "LOW_WATER_MB": "0",
    }
    if issuers is not None:
        settings |= {"CDS_ISSUERS_FILE": str(issuers), "PUBLIC_BASE_URL": BASE}
    return web(port, settings | more, log)


def web(port, settings, log):
    """Return the context of `consilium web` with these settings alone, at their port."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CONSILIUM_")}
    environ |= {f"CONSILIUM_{name}": value for name, value in settings.items()}
    return server([sys.executable, "-m", "consilium", "web"], environ, "/livez", port, log)


def has_healthchain(python):
    """Tell whether an interpreter can import the peer."""
    return subprocess.run([python, "-c", "import healthchain"], capture_output=True, check=False).returncode == 0


def peer(python, log):
    """Return the context of HealthChain's default server."""
    port = free_port()
    script = str(ROOT / "benchmarks" / "healthchain_peer.py")
    return server([python, script, str(port)], dict(os.environ), "/docs", port, log)


# Measuring


def path_of(name, service):
    """Return the path of a service; HealthChain puts its own before it."""
    return f"/cds/cds-services/{service}" if name == PEER else f"/cds-services/{service}"


def cpu_s(pid):
    """Return the processor time of a process and its children so far."""
    spent = 0.0
    for process in (pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        spent += sum(map(int, times[11:13])) / os.sysconf("SC_CLK_TCK")
    return spent


def measured(target, connections, seconds):
    """Return a figure, and the processor time of one request in ms: what is left of it on a busy machine."""
    before = cpu_s(PIDS[target.port])
    figure = measure(target, connections, seconds)
    return figure, (cpu_s(PIDS[target.port]) - before) / figure.with_warm_up * 1000


def compared(servers, seconds, rounds):
    """Measure every case on every server, in turns; return rows."""
    rows = []
    for case in cases():
        found = {name: [] for name in servers}
        for _ in range(rounds):
            for name, port in servers.items():
                message = request(path_of(name, case.service), case.body)
                found[name].append(measured(Target(port, [message]), case.connections, seconds))
        for name, figures in found.items():
            figure, cpu_ms = middle(figures)
            row = row_of(case.title, name, case.connections, figure, cpu_ms) | {"goal": case.goal}
            if name != PEER and PEER in found:
                row["times_the_peer"] = round(figure.per_s / middle(found[PEER])[0].per_s, 2)
            rows.append(row)
    return rows


def middle(figures):
    """Return the figure of the median round."""
    return sorted(figures, key=lambda found: found[0].per_s)[len(figures) // 2]


def row_of(title, name, connections, figure: Figure, cpu_ms):
    """Return one line of the table."""
    return {
        "case": title,
        "server": name,
        "connections": connections,
        "requests_per_s": round(figure.per_s),
        "p50_ms": round(figure.p50_ms, 2),
        "p99_ms": round(figure.p99_ms, 2),
        "cpu_ms": round(cpu_ms, 2),
        "load": round(os.getloadavg()[0], 1),
    }


def issuers_file(folder):
    """Write the keys of two clients where the server reads them; return the file and the clients by algorithm."""
    from cds.client.keys import new_key, public_set
    from cds.client.tokens import Client
    from clinical.clock import utc_now

    clients, lines = {}, []
    for algorithm in ("RS384", "ES384"):
        client = Client(f"https://{algorithm.lower()}.example", new_key(algorithm, "k1"), utc_now)
        keys = folder / f"{algorithm}.json"
        keys.write_text(json.dumps(public_set([client.key])))
        entry = f'[[issuer]]\nname = "{algorithm.lower()}"\niss = "{client.iss}"\nkeys_file = "{keys}"\n'
        lines.append(entry + f'algorithms = ["{algorithm}"]\n')
        clients[algorithm] = client
    file = folder / "issuers.toml"
    file.write_text("\n".join(lines))
    return file, clients


def with_tokens(port, bare_port, clients, seconds):
    """Measure the trivial card with tokens, each used once, and just before without."""
    from cds.client.tokens import mint

    small = cases()[0].body
    path = "/cds-services/bench-static"
    goals = {"RS384": (">= 1000 req/s", "added p50 <= 0.6 ms"), "ES384": (">= 450 req/s", "added p50 <= 2 ms")}
    rows = []
    for algorithm, client in clients.items():
        for connections in (16, 1):
            # A little more than can be used up, for a token is good once and costs a millisecond to make.
            count = int((seconds + 1) * (2500 if algorithm == "RS384" else 1000) / (1 if connections > 1 else 2))
            messages = [request(path, small, mint(client, BASE + path)) for _ in range(count)]
            bare = measure(Target(bare_port, [request(path, small)]), connections, seconds)
            figure, cpu_ms = measured(Target(port, messages), connections, seconds)
            goal = goals[algorithm][0 if connections > 1 else 1]
            row = row_of(f"trivial card, {algorithm}", TOKENS, connections, figure, cpu_ms) | {"goal": goal}
            row |= {"without": round(bare.per_s), "added_p50_ms": round(figure.p50_ms - bare.p50_ms, 2)}
            rows.append(row)
    return rows


def run(options):
    """Start the servers, measure, and return the rows."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = stack.enter_context((folder / "servers.log").open("wb"))
        file, clients = issuers_file(folder)
        servers = {}
        if has_healthchain(options.peer):
            servers[PEER] = stack.enter_context(peer(options.peer, log))
        else:
            print("# healthchain is not installed: ours is measured alone (--peer PYTHON)", file=sys.stderr)
        servers[ONE] = stack.enter_context(ours(folder / "one", 1, log))
        servers[TWO] = stack.enter_context(ours(folder / "two", 2, log))
        guarded = stack.enter_context(ours(folder / "tokens", 1, log, file))
        rows = compared(servers, options.seconds, options.rounds)
        return rows + with_tokens(guarded, servers[ONE], clients, options.seconds)


def main():
    """Measure and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = run(options)
    print(f"# {datetime.now(UTC):%Y-%m-%dT%H:%M}Z  {machine()}")
    line = (
        "{case:20} {server:27} c={connections:<3}{requests_per_s:>6} req/s  p50 {p50_ms:>7}  p99 {p99_ms:>7}"
        "  cpu {cpu_ms:>5} ms"
    )
    for row in rows:
        if options.json:
            print(json.dumps(row))
            continue
        more = f"  {row['times_the_peer']}x" if "times_the_peer" in row else ""
        more += f"  +{row['added_p50_ms']} ms, {row['without']} req/s without" if "without" in row else ""
        print(line.format(**row) + more + f"  load {row['load']}" + (f"  [{row['goal']}]" if row["goal"] else ""))


if __name__ == "__main__":
    main()
