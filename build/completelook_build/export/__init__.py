"""From a model folder into Triton's repository."""
