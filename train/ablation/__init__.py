"""`python -m train ablate`: compares methods, translators and seeds."""
