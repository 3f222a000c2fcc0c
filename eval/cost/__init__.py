"""`python -m eval cost`: what inference costs compared with a plain backbone."""
