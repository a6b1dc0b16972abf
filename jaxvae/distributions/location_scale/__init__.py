"""Families of location and scale (Bath report, section 4.2.5, family 2)."""
