"""What is measured: seconds of ours and of the bare thing in turn, and the memory of processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
from completelook import Catalog, SceneEmbedding
from completelook.catalog import write_catalog
from completelook.files import sync
from completelook.ranking import Match, rank, rank_scene, rank_scenes
from numpy.typing import NDArray

from completelook_load.catalog.shop import CATEGORIES, MODEL_ID, products, scenes, unit_vectors


class Bench:
    """A catalog, its embeddings beside it in memory, and what is measured on them.

    Every method yields a pair for each round: of ours and of what it is compared with.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._table = products(count)
        self._embeddings = unit_vectors(np.random.default_rng(0), count)
        self.path = self._write(folder / "catalog.arrow", self._table, self._embeddings)
        self._small = self._write(
            folder / "small.arrow", self._table.slice(0, 10_000), self._embeddings[:10_000]
        )
        self._catalog = Catalog.open(self.path)
        order = np.argsort(np.arange(count) % len(CATEGORIES), kind="stable")
        self._sorted = self._embeddings[order]  # [N, 128], as they lie in the file
        self._rows = np.arange(count).reshape(len(CATEGORIES), -1)[:, [0, -1]] + [0, 1]
        self._scenes = scenes(100)
        self._queries = np.array([each.embedding + each.contexts[0] for each in self._scenes])
        self._search_all(self._queries[0])  # Every block has been checked from here on.

    def one_category(self, rounds: int) -> Iterator[tuple[float, float]]:
        """The top 10 of one category, and the bare product with its embeddings, a mean of all."""
        query = self._queries[0]
        for _ in range(10 * rounds):
            ours = bare = 0.0
            for row, (start, stop) in enumerate(self._rows):
                ours += _seconds(partial(self._search, query, row))
                bare += _seconds(partial(np.matmul, self._sorted[start:stop], query))
            yield ours / len(CATEGORIES), bare / len(CATEGORIES)

    def all_categories(self, rounds: int) -> Iterator[tuple[float, float]]:
        """The top 10 of every category, and the bare product with all embeddings."""
        for _ in range(10 * rounds):
            ours = _seconds(lambda: self._search_all(self._queries[0]))
            yield ours, _seconds(lambda: self._sorted @ self._queries[0])

    def many_queries(self, rounds: int) -> Iterator[tuple[float, float]]:
        """The search of a query in every category, among 100 at once and alone."""

        def search_many() -> None:
            for name in CATEGORIES:
                for hits in self._catalog.search_many(self._queries, name, top=10):
                    hits.cells("id")

        for _ in range(rounds):
            alone = sum(_seconds(partial(self._search_all, each)) for each in self._queries[:10])
            yield _seconds(search_many) / len(self._queries), alone / 10

    def many_scenes(self, rounds: int) -> Iterator[tuple[float, float]]:
        """A scene's ranking in every category, among 100 at once and alone."""
        for _ in range(rounds):
            together = _seconds(lambda: rank_scenes(self._scenes, self._catalog))
            alone = _seconds(lambda: [rank_scene(s, self._catalog) for s in self._scenes[:10]])
            yield together / len(self._scenes), alone / 10

    def _search(self, query: NDArray[np.float32], category: int) -> None:
        self._catalog.search(query, CATEGORIES[category], top=10).cells("id")

    def _search_all(self, query: NDArray[np.float32]) -> None:
        for category in range(len(CATEGORIES)):
            self._search(query, category)

    def regions(self, rounds: int) -> Iterator[tuple[float, float]]:
        """The top 10 of one category, and the paper's sum over 196 regions for its products.

        Raises AssertionError where they are not the same products in the same order.
        """
        scene, (start, stop) = self._scenes[1], self._rows[0]
        vectors = self._sorted[start:stop]
        for _ in range(rounds):
            started_s = time.perf_counter()
            distances = _sum_over_regions(scene, vectors)  # [n]
            nearest = np.argsort(distances, kind="stable")[:10]
            bare = time.perf_counter() - started_s
            ours = _seconds(lambda: rank(scene, self._catalog, CATEGORIES[0]))
            found = [each.id for each in rank(scene, self._catalog, CATEGORIES[0])]
            expected = [f"sku-{place * len(CATEGORIES):08d}" for place in nearest]
            if found != expected:
                raise AssertionError(f"{found} is not the order of the paper's sum, {expected}")
            yield ours, bare

    def opening(self, rounds: int) -> Iterator[tuple[float, float]]:
        """Opening this catalog, and one of 10,000 products."""
        for _ in range(10 * rounds):
            ours = _seconds(lambda: Catalog.open(self.path))
            yield ours, _seconds(lambda: Catalog.open(self._small))

    def opening_many(self, rounds: int, count: int) -> Iterator[tuple[float, float]]:
        """Opening a catalog of so many products, 6 GB for 10 million, and one of 10,000."""
        path = self._folder / "many.arrow"
        same = np.broadcast_to(self._embeddings[0], (count, 128))  # takes no memory
        table = products(count).select(["id", "image", "category"])
        self._write(path, table, same)
        for _ in range(10 * rounds):
            ours = _seconds(lambda: Catalog.open(path))
            yield ours, _seconds(lambda: Catalog.open(self._small))
        path.unlink()

    def writing(self, rounds: int) -> Iterator[tuple[float, float]]:
        """Writing the catalog, and the same table by pyarrow as it is; both on disk in the end."""
        numbers = pa.array(self._embeddings.reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(numbers, 128)
        whole = self._table.append_column("embedding", column)
        plain, path = self._folder / "plain.arrow", self._folder / "written.arrow"

        def write_plain() -> None:
            with pa.OSFile(str(plain), "wb") as file, pa.ipc.new_file(file, whole.schema) as out:
                out.write_table(whole)
            sync(plain)

        for _ in range(rounds):
            for left in (plain, path):
                left.unlink(missing_ok=True)
            ours = _seconds(lambda: self._write(path, self._table, self._embeddings))
            yield ours, _seconds(write_plain)

    def checks(self, rounds: int) -> Iterator[tuple[float, float]]:
        """Opening and ranking every category for the first time, and that without any check."""

        def open_and_rank() -> None:
            rank_scene(self._scenes[0], Catalog.open(self.path))

        for _ in range(4 * rounds):
            ours = _seconds(open_and_rank)
            with mock.patch("completelook.storage.seal.SealedFile.check"):
                yield ours, _seconds(open_and_rank)

    def checks_of_a_process(self, rounds: int) -> Iterator[tuple[float, float]]:
        """A process that does this once, from its start to its end, with checks and without."""
        for _ in range(rounds):
            ours = _seconds(lambda: _in_a_process("rank", str(self.path), "20"))
            yield ours, _seconds(lambda: _in_a_process("rank unchecked", str(self.path), "20"))

    def same_in_half(self) -> list[float]:
        """Of each scene's top 10 in every category, the share that half precision keeps."""
        path = self._write(self._folder / "half.arrow", self._table, self._embeddings, half=True)
        pairs = [rank_scenes(self._scenes, each) for each in (self._catalog, Catalog.open(path))]
        path.unlink()
        return [
            float(np.mean([_shared(full[name], half[name]) for name in full]))
            for full, half in zip(*pairs, strict=True)
        ]

    def _write(
        self, path: Path, table: pa.Table, embeddings: NDArray[np.float32], *, half: bool = False
    ) -> Path:
        write_catalog(path, table, embeddings, model_id=MODEL_ID, categories=CATEGORIES, half=half)
        return path


def rank_memory_mib(path: Path, categories: int) -> float:
    """What ranking some categories takes of memory at most, above what imports take."""
    return _in_a_process("rank", str(path), str(categories))


def index_memory_mib(folder: Path, count: int) -> float:
    """What `index` takes of memory at most, imports included, for so many products."""
    return _in_a_process("index", str(folder / f"indexed-{count}.arrow"), str(count))


def _in_a_process(*arguments: str) -> float:
    code = "from completelook_load.catalog.process import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, env=os.environ
    )
    return float(answer.stdout)


def peak_mib() -> float:
    """The most memory that this process has taken so far."""
    # Not getrusage's, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _shared(some: list[Match], others: list[Match]) -> float:
    return len({each.id for each in some} & {each.id for each in others}) / len(some)


def _sum_over_regions(
    scene: SceneEmbedding, vectors: NDArray[np.float32]
) -> NDArray[np.floating[Any]]:
    """The paper's distance for the first category, region by region, [n]."""
    if scene.regions is None or scene.attention is None:
        raise ValueError("a scene without its regions")
    weights = scene.attention[0].reshape(-1)  # [196]
    local: NDArray[np.floating[Any]] = np.zeros(len(vectors))
    for weight, region in zip(weights, scene.regions, strict=True):
        local += weight * np.square(vectors - region).sum(axis=1)
    to_all: NDArray[np.floating[Any]] = np.square(vectors - scene.embedding).sum(axis=1)
    return (to_all + local) / 2


def _seconds(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s
