"""What can be asked: the parameters of each question, their limits and how they are read, and the words of its answer."""
