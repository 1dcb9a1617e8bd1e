"""Every operation reads the same Parameters, and refuses the same."""

import json
from dataclasses import replace

import pytest

from fhir_adapters.bulk.offer import Bulk
from record_store.testing import MemoryBlobs
from tests.fhir_adapters.conftest import client_of

OPERATIONS = (
    "Observation/$stats",
    "Observation/$lastn",
    "ConceptMap/$translate",
    "$export",
    "$ai-recall",
)

FIRST = "Parameters.parameter[0]"


def parameters(listed):
    return {"resourceType": "Parameters", "parameter": listed}


@pytest.mark.parametrize("path", OPERATIONS)
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"resourceType": "Patient"}, "resourceType"),
        ({"resourceType": "Parameters", "parameter": {"name": "x"}}, "Parameters.parameter[0]"),
        ({"resourceType": "Parameters", "parameter": [{"valueString": "x"}]}, "Parameters.parameter[0]"),
        ({"resourceType": "Parameters", "parameter": [["name", "x"]]}, "Parameters.parameter[0]"),
        (
            {"resourceType": "Parameters", "parameter": [{"name": 1, "valueString": "x"}]},
            "Parameters.parameter[0]",
        ),
    ],
)
def test_what_is_no_list_of_named_parameters_is_refused_with_its_place(exporting, path, body, place):
    reply = exporting.post(
        f"/fhir/{path}",
        data=json.dumps(body),
        content_type="application/fhir+json",
        headers={"Prefer": "respond-async"},
    )
    assert (reply.status_code, reply.get_json(force=True)["issue"][0]["expression"]) == (400, [place])


@pytest.fixture
def exporting(fhir):
    """A client of a server that makes exports too; nothing is kept."""
    return client_of(replace(fhir, bulk=Bulk(lambda: MemoryBlobs(None))))
