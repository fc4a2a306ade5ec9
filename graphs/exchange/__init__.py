"""Networks in other formats: ONNX files as torch modules."""
