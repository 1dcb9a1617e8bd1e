"""Writers of ONNX files, and the gate that every file passes before it is written."""
