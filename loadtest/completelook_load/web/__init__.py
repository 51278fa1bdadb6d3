"""`python -m completelook_load.web`: what the HTTP service adds to Triton's own time."""
