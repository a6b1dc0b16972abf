"""Families composed of simpler variables (Bath report, section 4.2.5, family 3)."""
