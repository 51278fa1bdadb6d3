"""What is learned: the heads and their distances."""
