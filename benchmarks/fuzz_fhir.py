"""Thousands of requests that schemathesis makes of our OpenAPI document: no 5xx, an OperationOutcome on every 4xx.

    python -m benchmarks.fuzz_fhir [--examples 40] [--site FOLDER]

It needs schemathesis, which is no package of ours: `pip install --target FOLDER schemathesis`, and --site FOLDER.
The API runs in this process over a temporary SQLite store. A grammar of our own (nearly sound resources, odd
searches, addresses, headers) is tests/fhir_adapters/test_fuzz.py, with HYPOTHESIS_PROFILE=fuzz 1,000 examples.
"""

import argparse
import json
import sys
import tempfile
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from werkzeug.exceptions import HTTPException

from fhir_adapters.outcome import http_response
from fhir_adapters.rest import Fhir, blueprint
from record_store.database import open_database
from record_store.migrate import migrate

BASE = "http://127.0.0.1:8080/fhir"


def application(folder):
    """Return the FHIR API over an empty store."""
    db = open_database(f"sqlite:///{folder}/fuzz.db")
    migrate(db)
    app = Flask("fuzz")
    app.register_blueprint(
        blueprint(
            Fhir(
                db=db,
                now=lambda: datetime.now(UTC),
                new_id=lambda: str(uuid.uuid4()),
                page_key=b"k" * 32,
                base_url=BASE,
            )
        )
    )
    app.register_error_handler(HTTPException, lambda error: http_response(error.code or 500))
    return app


def wrong_with(status, media_type, data):
    """Return what an answer must not be, or nothing."""
    if status >= 500:
        return f"{status}: {data[:200]!r}"
    if status >= 400:
        if not media_type.startswith("application/fhir+json"):
            return f"{status} as {media_type}"
        if json.loads(data).get("resourceType") != "OperationOutcome":
            return f"{status} without an OperationOutcome"
    return ""


def main():
    """Fuzz every operation, say how many requests there were, and exit with 1 when one was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=40, help="of each operation")
    parser.add_argument("--site", type=Path, help="folder that schemathesis is installed in")
    given_arguments = parser.parse_args()
    if given_arguments.site:
        sys.path.append(str(given_arguments.site))
    import schemathesis  # noqa: PLC0415 - only here, and told how to install above

    statuses, wrong = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        schema = schemathesis.openapi.from_wsgi("/fhir/api-docs", application(Path(folder)))
        for result in schema.get_all_operations():
            operation = result.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=given_arguments.examples,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
                database=None,
            )
            def ask(case):
                answer = case.call()
                statuses[answer.status_code] += 1
                media_type = answer.headers.get("content-type", [""])[0]
                if case.method != "HEAD" and (
                    problem := wrong_with(answer.status_code, media_type, answer.content)
                ):
                    wrong.append(f"{case.method} {case.formatted_path}: {problem}")

            ask()
            print(f"\r{statuses.total():,} requests, {len(wrong)} wrong", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        json.dumps({"requests": statuses.total(), "statuses": dict(sorted(statuses.items())), "wrong": wrong[:20]})
    )
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
