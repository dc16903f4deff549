"""What clew costs, measured side by side with what it is compared to (see README.md)."""
