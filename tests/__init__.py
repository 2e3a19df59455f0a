import os

# Progress is shorter in CI: what the tests expect is what a person sees.
os.environ.pop("CI", None)
