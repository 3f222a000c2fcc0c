"""`python -m train bench`: what this program takes, beside what common code takes, measured in the same run."""
