"""docs/notebook.ipynb is as it ran, and runs."""

import csv
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from completelook.server import EmbeddedServer
from run_notebook import NOTEBOOK, run_notebook


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.fixture(scope="module")
def page() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_every_cell_has_run_in_order_and_none_failed(page: Any) -> None:
    nbformat.validate(page)
    counts = [cell.execution_count for cell in page.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [each for each in outputs(page) if each.output_type == "error"]
    assert not [each for each in outputs(page) if each.get("name") == "stderr"]


def test_it_is_small_and_knows_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 500_000
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/|127\.0\.0\.1", text)


@pytest.mark.slow
def test_it_runs_against_the_real_server(
    page: Any, server: EmbeddedServer, small_showroom: Path, tmp_path: Path
) -> None:
    showroom = tmp_path / "demo" / "showroom"
    showroom.mkdir(parents=True)
    (showroom / "images").symlink_to(small_showroom / "images")
    # A few products, of categories that the tests' model knows.
    with (small_showroom / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::4]
    with (showroom / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"category": "Decor|Rugs"} for row in rows)
    (tmp_path / "docs").mkdir()

    ran = run_notebook(tmp_path / "docs", server.grpc_address)

    assert [cell.source for cell in ran.cells] == [cell.source for cell in page.cells]
    kinds, expected = ([[*each.get("data", "")] for each in outputs(one)] for one in (ran, page))
    assert kinds == expected
    assert outputs(ran)[-1].data["text/plain"] == "True"
