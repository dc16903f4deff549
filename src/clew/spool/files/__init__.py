"""Files that may have become something else, and descriptors that may have become another's."""
