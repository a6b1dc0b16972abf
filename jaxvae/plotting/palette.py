"""Colours that stay apart for every common kind of colour vision."""

# Okabe and Ito (2008), "Color universal design", without black and without the pale yellow.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, SKY, AMBER = "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#8C8C8C"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
