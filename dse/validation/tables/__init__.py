"""Measured kernel times as tables, one loader for each kind; cleaning is a list of rules that say why."""
