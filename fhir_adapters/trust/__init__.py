"""Signed tokens of others: taken apart, their keys found and fetched, their signatures checked, refusals recorded.

What the hooks (`cds.trust`) and the FHIR API's token endpoint (`fhir_adapters.access`) have in common.
"""
