"""What has to be done in the store again and again: schema, partitions, indexes, sums, retention, erasure, figures."""
