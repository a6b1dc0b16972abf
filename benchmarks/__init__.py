"""Measurements of time and accuracy: compilation apart, interleaved, medians, versions recorded."""
