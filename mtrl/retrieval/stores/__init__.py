"""Galleries on disk or in a database, behind one interface."""
