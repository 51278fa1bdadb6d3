"""`make bench-catalog`: the catalog's file beside what is bare of it."""
