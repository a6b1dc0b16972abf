"""What experiments share: options, the folder of a run, the comparison of several methods."""
