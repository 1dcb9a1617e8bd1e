"""The official FHIR R4 (4.0.1) definitions as tables: what `compile` made of HL7's files, and readers."""
