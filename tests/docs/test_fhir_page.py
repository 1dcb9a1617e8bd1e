"""docs/fhir.md names every interaction that is registered, and its example works."""

import itertools
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask

from fhir_adapters.allow_list import AllowedServer, Network
from fhir_adapters.rest import INTERACTIONS, Fhir, blueprint
from record_store.testing import database

PAGE = (Path(__file__).parents[2] / "docs" / "fhir.md").read_text()


def test_every_interaction_is_told():
    requests = set(re.findall(r"`([A-Z]+ /[^`]*)`", PAGE))
    for each in INTERACTIONS:
        path = each.path if each.path.startswith("/<") else f"/fhir{each.path}"
        assert f"{each.method} {path}" in requests, each
    assert len(requests) == len(INTERACTIONS) + 2  # and no other, but for metadata and api-docs


RESULT = {
    "resourceType": "Observation",
    "id": "OBSERVATION",
    "meta": {
        "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}]
    },
    "status": "preliminary",
    "code": {"text": "what a model found"},
}


def test_the_examples_work(tmp_path):
    app = Flask("page")
    app.register_blueprint(blueprint(fhir_of(database(tmp_path))))
    client = app.test_client()
    client.put("/fhir/Observation/OBSERVATION", json=RESULT)
    examples = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for example in examples:
        words = shlex.split(example.replace("\\\n", " "))
        headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
        url = next(word for word in words if word.startswith("http"))
        reply = client.open(
            url.removeprefix("http://127.0.0.1:8080"),
            method=words[words.index("-X") + 1],
            headers=headers,
            data=words[words.index("-d") + 1],
        )
        assert reply.status_code in (200, 201), reply.data


def fhir_of(db):
    numbers = itertools.count(1)
    return Fhir(
        db=db,
        now=lambda: datetime.now(UTC),
        new_id=lambda: f"made-{next(numbers)}",
        page_key=b"k" * 32,
        base_url="http://h/fhir",
        endpoints=(AllowedServer("http://127.0.0.1:9100", Network.LOOPBACK),),
    )
