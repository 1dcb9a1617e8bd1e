"""FHIR in JSON, as HTTP names it (R4 3.1.0.1.8): for who sends it and has nothing to do with errors or answers."""

MEDIA_TYPE = "application/fhir+json"
