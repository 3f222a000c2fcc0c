"""`python -m eval cost`: what inference costs, beside a plain backbone."""
