"""`python -m train bench`: time and memory of this project beside a plain implementation, measured in one run."""
