""".well-known/smart-configuration (SMART 2.2 conformance), and the same facts in the CapabilityStatement.

What clients read there: fhir-kit-client the addresses of this document or of the extension; fhirclient the
extension of `rest.security`.
"""

from collections.abc import Mapping
from typing import Any

from fhir_adapters.access.clients import ALGORITHMS

Json = dict[str, Any]

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
CAPABILITIES = "http://fhir-registry.smarthealthit.org/StructureDefinition/capabilities"
SECURITY_SERVICE = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_CAPABILITIES = ("client-confidential-asymmetric", "permission-patient", "permission-v1", "permission-v2")
# A scope may be for any type and letters; these are those that most clients look for, and their shape.
_SCOPES = (
    "system/*.cruds",
    "system/*.rs",
    "patient/*.rs",
    "user/*.rs",
    "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
    "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
    "patient/Condition.rs?category=http://terminology.hl7.org/CodeSystem/condition-category|problem-list-item",
)
_OF_TYPES = ("Patient", "Observation", "Condition", "DiagnosticReport", "RiskAssessment", "ServiceRequest")


def smart_configuration(issuer: str) -> Json:
    """Return the document. issuer: our base URL, without a slash at the end."""
    return {
        "token_endpoint": f"{issuer}/oauth2/token",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": [one.value for one in ALGORITHMS],
        "introspection_endpoint": f"{issuer}/oauth2/introspect",
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["token"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": [
            *_SCOPES,
            *(f"{level}/{name}.rs" for level in ("patient", "system") for name in _OF_TYPES),
        ],
        "capabilities": list(_CAPABILITIES),
    }


def security_of(configuration: Mapping[str, Any]) -> Json:
    """Return what CapabilityStatement.rest.security says of it; clients still read SMART 1.0's extensions."""
    uris = {
        "token": configuration["token_endpoint"],
        "introspect": configuration["introspection_endpoint"],
        "revoke": configuration["revocation_endpoint"],
    }
    return {
        "extension": [
            {"url": OAUTH_URIS, "extension": [{"url": name, "valueUri": uri} for name, uri in uris.items()]},
            *({"url": CAPABILITIES, "valueCode": code} for code in configuration["capabilities"]),
        ],
        "service": [{"coding": [{"system": SECURITY_SERVICE, "code": "SMART-on-FHIR"}]}],
        "description": "SMART Backend Services: see .well-known/smart-configuration",
    }
