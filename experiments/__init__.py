"""One readable script for each result of the source documents."""
