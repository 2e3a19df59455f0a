"""Runs Graphs in PyTorch. The only room that imports torch."""
