"""Reading and writing files: no model in here."""
