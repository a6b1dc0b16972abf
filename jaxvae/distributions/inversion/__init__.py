"""Families drawn by their inverse distribution function (Bath report, section 4.2.5, family 1)."""
