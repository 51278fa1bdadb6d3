"""Load tests: users on a Triton server, the knee of its latency, what it does when overloaded."""
