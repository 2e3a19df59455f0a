"""File formats of Keras models: bytes to configs and arrays, and back. Knows no layer."""
