"""Reads and writes tables of any size, some rows at a time: Parquet, CSV, JSON lines, .npy, .npz."""
