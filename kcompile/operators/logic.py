"""Comparison, logic, bits, selection and casts."""
