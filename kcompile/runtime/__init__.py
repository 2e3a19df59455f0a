"""Runs ONNX files in ONNX Runtime."""
