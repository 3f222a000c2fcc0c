"""Run folder, log, saved state, resuming and stopping: shared by both trainings."""
