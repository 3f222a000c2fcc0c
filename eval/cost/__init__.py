"""`python -m eval cost`: the cost of inference with a trained model, compared with a plain backbone."""
