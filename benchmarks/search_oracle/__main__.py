"""python -m benchmarks.search_oracle [--queries N] [--seed S] [--walks N] [--postgres URL]

Prints one JSON object: how many random searches were asked, and those that the oracle answers otherwise; with
--walks, how often something was repeated or left out in so many walks over pages while two others write.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

from flask import Flask

from benchmarks.search_oracle.asking import BASE
from benchmarks.search_oracle.pages import walks_under_writes
from benchmarks.search_oracle.run import differences, fill, now
from fhir_adapters.rest import Fhir, blueprint
from record_store.database import open_database
from record_store.migrate import migrate


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--walks", type=int, default=0)
    parser.add_argument("--postgres", help="URL of an empty database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(given.postgres or f"sqlite:///{Path(folder) / 'oracle.db'}")
        migrate(db)
        app = Flask("oracle")
        app.register_blueprint(blueprint(Fhir(db, now, lambda: uuid.uuid4().hex, b"k" * 32, BASE)))
        client = app.test_client()
        stored = fill(client) if given.queries else {}
        began = time.perf_counter()
        found = list(differences(client, stored, given.seed, given.queries, now()))
        said = {"database": db.dialect, "queries": given.queries, "seed": given.seed, "differences": len(found),
                "took_s": round(time.perf_counter() - began, 1), "first": found[:20]}  # fmt: skip
        for sort in ("-date", "-_lastUpdated", "status,-date", "date") if given.walks else ():
            told = walks_under_writes(app.test_client, sort, runs=given.walks // 4)
            repeated, missing = (sum(each) for each in zip(*told, strict=True))
            said |= {f"walks by {sort}": {"walks": len(told), "repeated": repeated, "missing": missing}}
        db.dispose()
    print(json.dumps(said, indent=1))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
