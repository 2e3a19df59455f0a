"""ONNX out of the IR."""
