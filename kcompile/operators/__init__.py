"""Operator declarations, one file a family: infer, torch, onnx, decompose."""
