"""The folder of a run: what is written into it, and how a model comes back from it."""
