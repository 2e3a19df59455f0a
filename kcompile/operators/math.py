"""Elementwise functions of one number."""
