"""Logarithms, ratios and remainders with more digits than the plain formulas keep."""
