"""What can be asked: how the parameters of a question are read, and the words of its answer."""
