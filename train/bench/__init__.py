"""`python -m train bench`: time and memory of this program and of common code, measured in the same run."""
