"""Steps that failed: which one it was, what was not finite, and how it is looked at again."""
