"""The page in a browser: when it is painted, what it weighs, what it adds to the inference."""
