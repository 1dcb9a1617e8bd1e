"""Values and decisions: what a finding, a risk and a patient key are.

Pure: numpy and the standard library only; no file, socket, database, DICOM or FHIR (import-linter holds this).
"""
