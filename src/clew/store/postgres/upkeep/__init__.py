"""What has to be done in the store again and again: partitions, indexes, sums, retention, erasure, figures."""
