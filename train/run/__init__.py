"""Run folder, log, saved state, resuming and stopping, for the training of models and of translators."""
