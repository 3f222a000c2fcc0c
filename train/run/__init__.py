"""A run's folder, log, state and stop: shared by both trainings."""
