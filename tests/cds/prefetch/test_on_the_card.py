"""What came too late is named where the clinician looks, and counted for who looks after the connection."""

from cds.services.diabetes_risk import SERVICE
from cds.testing import FHIR_SERVER, CannedReader, hook_body
from fhir_adapters.client import FetchFailed, Reason

GRANT = {"access_token": "t", "token_type": "Bearer", "expires_in": 60, "scope": "user/*.rs", "subject": "x"}


def test_a_key_that_came_too_late_is_named_on_the_card_and_counted(make_client, risk_engine_of, adult):
    said = []
    del adult["waist"]
    client = make_client(
        engine=risk_engine_of(0.3),
        fhir=CannedReader({"Observation": FetchFailed(Reason.TIMEOUT)}),
        observe_prefetch=lambda *labels: said.append(labels),
    )
    body = hook_body(prefetch=adult, fhirServer=FHIR_SERVER, fhirAuthorization=GRANT)
    (card,) = client.post("/cds-services/diabetes-risk", json=body).json["cards"]
    (row,) = [line for line in card["detail"].splitlines() if line.startswith("| waist |")]
    assert "too late" in row
    assert row.endswith("the FHIR server did not answer in time |")
    assert ("anonymous", "diabetes-risk", "waist", "late", "none") in said
    assert ("anonymous", "diabetes-risk", "patient", "complete", "sent") in said
    assert len(said) == len(SERVICE.prefetch)
