"""How fast a hook is answered: one gunicorn gthread worker, one fixed card or diabetes-risk on a canned engine.

    python benchmarks/hooks.py [--seconds 5] [--threads 8] [--json]

Prints requests a second and p50/p99 in ms at 1 and 16 keep-alive connections. The driver runs in processes of
its own (raw sockets, no client library), and shares the machine's cores with the server: it needs two.
"""

# ruff: noqa: PLC0415, SIM115 - the driver does not import the server; /dev/null stays open
import argparse
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = (1, 16)


def make_app():
    """Return the app under test; gunicorn calls this in its worker."""
    import logging
    import uuid

    import numpy as np
    import structlog
    from flask import Flask

    from cds.http import blueprint
    from cds.links import LinkSigner
    from cds.service import CdsContext
    from cds.services import SERVICES
    from cds.testing import one_card_service
    from clinical.clock import utc_now
    from model_runtime.testing import CannedEngine, manifest_of, risk_document
    from record_store.database import open_database

    # As in production: lines are made and written, here to nowhere.
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(Path(os.devnull).open("w")),
        cache_logger_on_first_use=True,
    )
    engine = CannedEngine(
        {"diabetes-risk": lambda inputs: {"probability": np.full((len(inputs["features"]), 1), 0.3)}},
        {"diabetes-risk": manifest_of(risk_document())},
    )
    context = CdsContext(
        engine=engine,
        db=open_database("sqlite:////nonexistent/bench.db"),
        now=utc_now,
        links=LinkSigner(b"k" * 32, "https://cds.example", utc_now),
        new_uuid=lambda: str(uuid.uuid4()),
    )
    app = Flask("bench")
    app.register_blueprint(blueprint((one_card_service(), *SERVICES), context))
    return app


def small_body():
    """Return a call of about 330 bytes, as the reference measured the peers with."""
    body = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/d1", "patientId": "p1", "encounterId": "e1"},
        "extension": {"com.example.bench": {"padding": "x" * 120}},
    }
    return json.dumps(body).encode()


def observation(code, value, unit, number):
    """Return one Observation of about 370 bytes."""
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}], "text": "A measurement"},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": f"2026-01-{number % 28 + 1:02d}T10:00:00Z",
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


def risk_body(observations):
    """Return a call of diabetes-risk with this many Observations in its prefetch."""
    entries = [{"resource": observation("39156-5", 31.2, "kg/m2", n)} for n in range(observations)]
    waist = [{"resource": observation("8280-0", 101, "cm", 1)}]
    body = json.loads(small_body()) | {
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1969-05-01"},
            "bmi": {"resourceType": "Bundle", "type": "searchset", "entry": entries},
            "waist": {"resourceType": "Bundle", "type": "searchset", "entry": waist},
            "blood-pressure": None,
            "glucose": None,
            "family-history": None,
        }
    }
    return json.dumps(body).encode()


CASES = {
    "one-card, small body": ("one-card", small_body()),
    "one-card, 200 Observations": ("one-card", risk_body(200)),
    "diabetes-risk, 1 Observation": ("diabetes-risk", risk_body(1)),
    "diabetes-risk, 200 Observations": ("diabetes-risk", risk_body(200)),
}


def drive(port, path, body, seconds, results):
    """Send calls one after the other on one connection and put the latencies into `results`."""
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
    message = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    latencies = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        started = time.perf_counter()
        connection.sendall(message)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        header, _, rest = answer.partition(b"\r\n\r\n")
        length = int(header.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += connection.recv(65536)
        latencies.append(time.perf_counter() - started)
        if not header.startswith(b"HTTP/1.1 200") or b'"cards":[{' not in rest:
            raise SystemExit(f"not a card: {header[:40]!r}")
    results.put(latencies)


def measure(port, case, connections, seconds):
    """Return requests a second and the percentiles of one case."""
    service, body = CASES[case]
    results = multiprocessing.Queue()
    arguments = (port, f"/cds-services/{service}", body, seconds, results)
    started = time.perf_counter()
    drivers = [multiprocessing.Process(target=drive, args=arguments) for _ in range(connections)]
    for driver in drivers:
        driver.start()
    latencies = sorted(latency for _ in drivers for latency in results.get(timeout=seconds + 30))
    took = min(time.perf_counter() - started, seconds + 1)
    for driver in drivers:
        driver.join()
    return {
        "case": case,
        "body_bytes": len(body),
        "connections": connections,
        "requests_per_s": round(len(latencies) / min(took, seconds)),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
    }


def start(workers, threads, folder):
    """Start gunicorn on a free port; return the process and the port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "benchmarks.hooks:make_app()",
        "-k",
        "gthread",
        "-w",
        str(workers),
    ]
    command += [
        "--threads",
        str(threads),
        "-b",
        f"127.0.0.1:{port}",
        "--keep-alive",
        "30",
        "--log-level",
        "warning",
    ]
    process = subprocess.Popen([*command, "--worker-tmp-dir", folder], cwd=ROOT)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process, port
    raise SystemExit("gunicorn did not start")


def main():
    """Measure every case and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(options.workers, options.threads, folder)
        try:
            measure(port, "one-card, small body", 1, 1.0)  # warm
            rows = [measure(port, case, n, options.seconds) for case in CASES for n in CONNECTIONS]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)
    where = f"load {os.getloadavg()[0]:.1f}  workers {options.workers}  threads {options.threads}"
    print(f"# {datetime.now(UTC):%Y-%m-%dT%H:%M}Z  {where}")
    line = "{case:34} c={connections:<3} {requests_per_s:>6} req/s  p50 {p50_ms:>7} ms  p99 {p99_ms:>7} ms"
    for row in rows:
        print(json.dumps(row) if options.json else line.format(**row))


if __name__ == "__main__":
    main()
