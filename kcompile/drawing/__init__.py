"""Graphs as drawings: boxes within layers, laid out and written as DOT, SVG or a page whose boxes fold."""
