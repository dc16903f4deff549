"""What keeps a server answering: bodies, connections, crowds, clients that are slow or gone."""
