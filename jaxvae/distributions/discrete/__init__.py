"""Families over counts and categories."""
