"""`make torture`: faults that are injected on purpose, and what becomes of the answers."""
