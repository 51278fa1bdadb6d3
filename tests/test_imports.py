import socket
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"grpc", "jinja2", "numpy", "PIL", "pyarrow", "pymilvus", "rich", "torch", "tritonclient"}

ONLY_IN_TESTS = {"duckdb", "faiss", "lancedb", "pandas", "polars", "psutil", "scipy"}


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


def test_ranking_loads_neither_pages_nor_torch_nor_milvus() -> None:
    loaded = modules_after("import completelook.clients")
    assert {"grpc", "pyarrow"} <= loaded
    assert not loaded & {"jinja2", "pymilvus", "rich", "torch"}


def test_a_catalog_is_written_and_searched_without_what_only_tests_install(tmp_path: Path) -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(ONLY_IN_TESTS)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Missing())
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np
from completelook import Catalog
from fakes import make_catalog
catalog = Catalog.open(make_catalog(Path({str(tmp_path)!r}) / "c.arrow"))
query = np.eye(128, dtype=np.float32)[0]
print(len(catalog.search(query, next(iter(catalog.category_counts)), top=1).products))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() != "", run.stderr


def test_importing_sets_up_no_logging() -> None:
    code = "import logging\nfrom completelook import *\nprint(logging.getLogger().handlers)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert run.stderr == ""


def connections(statement: str) -> tuple[bool, list[str]]:
    """Whether a statement, in a fresh interpreter, reaches the server at ADDRESS; open sockets.

    gRPC's sockets are made in C: the kernel is asked, not Python.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        code = (
            "import os, time\n"
            f"ADDRESS = '127.0.0.1:{server.getsockname()[1]}'\n"
            f"from completelook import *\n{statement}\n"
            "time.sleep(0.3)\n"  # gRPC would connect from a thread of its own
            "for name in os.listdir('/proc/self/fd'):\n"
            "    link = f'/proc/self/fd/{name}'\n"
            "    if os.path.islink(link) and os.readlink(link).startswith('socket:'): print(name)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        server.setblocking(False)
        try:
            server.accept()[0].close()  # also one that is closed by now
        except BlockingIOError:
            return False, run.stdout.decode().split()
        return True, run.stdout.decode().split()


def test_importing_and_making_clients_opens_no_connection() -> None:
    assert connections("clients = CompleteLook(ADDRESS), AsyncCompleteLook(ADDRESS)") == (False, [])


def test_a_connection_that_grpc_opens_would_be_seen() -> None:
    question = "look = CompleteLook(ADDRESS, timeout_s=0.5)\ntry: look.categories()\n"
    reached, _ = connections(f"{question}except ServerError: pass")
    assert reached
    _, sockets = connections("import socket; kept = socket.socket()")
    assert len(sockets) == 1


def test_without_its_extra_the_service_says_how_to_install_it_and_the_rest_works() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastapi", "starlette", "uvicorn", "prometheus_client"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from completelook import *
from completelook import cli
sys.argv = ["completelook", "web", "--catalog", "my.arrow"]
cli.main()
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: `completelook web` needs ")
    assert "pip install 'completelook[web]'" in run.stderr
