"""ONNX out of the IR, and into it."""
