"""Values to FHIR R4 resources: one file a type, plain dicts, ids given by the caller.

What an AI said carries the labels of HL7 AI Transparency on FHIR (`labels`).
"""
