"""Follows Python code that computes with symbolic tensors and writes down a Graph."""
