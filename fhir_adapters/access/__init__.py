"""Who may do what over the FHIR API: SMART Backend Services and what its scopes let through (docs/access.md)."""
