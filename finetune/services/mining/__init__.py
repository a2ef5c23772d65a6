"""Hard negatives for the rows of a file."""
