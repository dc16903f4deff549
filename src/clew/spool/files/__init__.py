"""Files that may have become something else, descriptors that may have become another's: each handled in one place."""
