"""Networks of other formats: ONNX files as modules of torch."""
