import subprocess
import sys

import pytest

HEAVY = {"grpc", "jinja2", "numpy", "PIL", "pyarrow", "rich", "torch", "tritonclient"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", ["import completelook", "import completelook.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    # typer itself brings rich along.
    assert not modules_after(statement) & (HEAVY - {"rich"})


def test_the_client_needs_no_torch() -> None:
    assert "torch" not in modules_after("from completelook import *")


def test_ranking_loads_neither_pages_nor_torch() -> None:
    loaded = modules_after("import completelook.clients")
    assert {"grpc", "pyarrow"} <= loaded
    assert not loaded & {"jinja2", "rich", "torch"}


def test_importing_sets_up_no_logging() -> None:
    code = "import logging\nfrom completelook import *\nprint(logging.getLogger().handlers)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert run.stderr == ""


def test_importing_opens_no_connection() -> None:
    code = (
        "import socket\n"
        "def refuse(*arguments): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "from completelook import *\n"
        "CompleteLook('localhost:1').close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
