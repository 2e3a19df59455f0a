"""Passes: graphs in, equal and cheaper graphs out."""
