"""The Hugging Face Hub: checkpoints and Spaces, fetched and published."""
