"""What refusals of the FHIR API's door and token endpoint are called in the audit."""

ACTION = "client-refused"
