"""Load on the served models: traffic, benchmarks."""
