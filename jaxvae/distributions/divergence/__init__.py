"""Divergences between distributions: closed forms by pair of families, and Monte Carlo."""
