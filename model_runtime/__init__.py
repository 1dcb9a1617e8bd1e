"""ONNX Runtime: verified model folders in, arrays out. Knows neither DICOM nor FHIR.

onnxruntime 1.29 and later sends telemetry to Microsoft, model file names among it, and writes a device id
into the home folder while it is imported (its own Privacy.md). Only this variable, set before the first
import, prevents both; it is set and not defaulted, because a server of patients has no other choice.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
