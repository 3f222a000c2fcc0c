"""Downloads from, and uploads to, the Hugging Face Hub: checkpoints, translators and Spaces."""
