"""Triton: the connection, and what its answers hold."""
