"""`python -m train ablate`: methods, translators and seeds side by side."""
