"""Where things are, in a checkout of the repository after `make demo`."""

from pathlib import Path

CATALOG = Path("demo/catalog.arrow")
PICTURES = Path("demo/showroom/images")
REPORTS = Path("loadtest/reports")
LOCUSTFILE = Path(__file__).parents[2] / "locustfile.py"
