"""`python -m completelook_build`, which is how torchrun starts it: see docs/training.md."""

from completelook_build.cli import main

main()
