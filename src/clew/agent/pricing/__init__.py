"""What events cost: prices of one's own, those that come with the package, and the cost written onto each event."""
