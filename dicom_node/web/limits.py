"""Where DICOMweb is, and how much one request may bring; the web worker asks before anything else is imported."""

ROOT = "/dicom-web"
MAX_BODY_BYTES = 48 << 20  # one store request; a client sends a larger study in several (PS3.18 10.5)
