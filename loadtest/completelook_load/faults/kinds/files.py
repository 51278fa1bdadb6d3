"""Files that are damaged, cut off, replaced or overwritten under those who read them."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from completelook import Catalog, CompleteLook
from completelook.catalog import write_catalog
from completelook.golden import GoldenRecord, golden_image
from completelook.server import EmbeddedServer
from numpy.typing import NDArray

from completelook_load.faults.stand import CATEGORIES, Stand
from completelook_load.faults.tally import Tally

Answer = list[tuple[str, float]]

_PRODUCTS, _TOP = 2000, 5
_BLOCK = 4096
_WITHIN_S = 30.0
_READERS = 3
_MODEL_ID = 1


def flip_catalog(stand: Stand, tally: Tally, times: int) -> None:
    """A bit is another one: every second time near the file's ends, where most hangs on one."""
    path = _catalog(stand)
    content, generator = path.read_bytes(), np.random.default_rng(0)

    def flipped(number: int) -> bytes:
        place = int(generator.integers(len(content)))
        if number % 2:
            place = int(generator.integers(-_BLOCK, _BLOCK))
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(generator.integers(8))
        return bytes(damaged)

    _read_again(stand, tally, path, times, flipped)


def cut_catalog(stand: Stand, tally: Tally, times: int) -> None:
    """The file ends early, at every 4 KiB."""
    path = _catalog(stand)
    content = path.read_bytes()
    sizes = range(0, len(content), _BLOCK)
    _read_again(stand, tally, path, min(times, len(sizes)), lambda each: content[: sizes[each]])


def flip_weights(stand: Stand, tally: Tally, times: int) -> None:
    """A bit of a model's file is another one: nothing may be served from it."""
    repository = stand.repository()
    generator = np.random.default_rng(0)
    for number in range(times):
        damaged = stand.folder / "damaged"
        shutil.copytree(repository, damaged)
        weights = sorted(damaged.glob("*/1/model.pt"))[number % 3]
        content = bytearray(weights.read_bytes())
        content[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
        weights.write_bytes(content)
        tally.injected += 1
        server = EmbeddedServer(damaged, grpc_port=0, metrics_port=0)
        tally.ask(server.start, lambda _: False, _WITHIN_S)
        server.stop()
        shutil.rmtree(damaged)
    _time_the_checks(repository, tally)


def _time_the_checks(repository: Path, tally: Tally) -> None:
    """How much longer a start takes for its checks: the digests, and the golden image's answers."""
    server = EmbeddedServer(repository, grpc_port=0, metrics_port=0)
    with server, CompleteLook(server.grpc_address) as look:
        began_s = time.monotonic()
        record = GoldenRecord.read(repository)
        if record is not None:
            record.changed_files(repository)
        look.embed_scene(golden_image())
        look.embed_product(golden_image())
        seconds = time.monotonic() - began_s
    size = sum(path.stat().st_size for path in repository.glob("*/1/*"))
    tally.notes.append(
        f"the checks of a start take {seconds:.2f} s for a model of {size / 1e6:.0f} MB; wanted at "
        "most 1 s"
    )


def rewrite(stand: Stand, tally: Tally, times: int) -> None:
    """A new catalog takes the old one's place: each answer is of one of them, whole."""
    path = _catalog(stand)
    answers = [_answer(path)]
    _write(path, seed=1)
    answers.append(_answer(path))
    with _readers(tally, lambda: _answer(path), lambda answer: answer in answers):
        for number in range(times):
            _write(path, seed=number % 2)
            tally.injected += 1


def overwrite(stand: Stand, tally: Tally, times: int) -> None:
    """Another catalog is written into the file between two questions of a reader who has it open.

    During a question nothing can help: the kernel ends who reads a part of a file that is gone.
    """
    path = _catalog(stand)
    other = _catalog(stand, "other.arrow", seed=1)
    contents = [path.read_bytes(), other.read_bytes()]
    answers = [_answer(path), _answer(other)]
    path.chmod(0o644)
    for number in range(times):
        catalog = Catalog.open(path)
        after = (number + 1) % 2
        with path.open("wb") as file:  # as `cp` does
            file.write(contents[after])
        tally.injected += 1
        _read_on(tally, catalog, path, answers[after])


def _read_on(tally: Tally, catalog: Catalog, path: Path, wanted: Answer) -> None:
    """Read a catalog that was overwritten, which is refused, and the one that is there now."""
    tally.ask(lambda: _ranked(catalog), lambda _: False, _WITHIN_S)
    tally.ask(lambda: _answer(path), lambda answer: answer == wanted, _WITHIN_S)


def _read_again(
    stand: Stand, tally: Tally, path: Path, times: int, damaged: Callable[[int], bytes]
) -> None:
    """Have damaged files read: an error, or the answer of the whole file.

    In a process of its own, since a crash would end all of them.
    """
    wanted = _answer(path)
    beside = stand.folder / "damaged.arrow"
    context = get_context("spawn")
    readers = ProcessPoolExecutor(1, mp_context=context)
    for number in range(times):
        beside.unlink(missing_ok=True)  # Who has it open keeps the earlier file.
        beside.write_bytes(damaged(number))
        tally.injected += 1
        try:
            outcome: object = readers.submit(_answer, beside).result(_WITHIN_S)
        except BrokenExecutor as error:
            outcome = error
            readers = ProcessPoolExecutor(1, mp_context=context)
        except TimeoutError:
            tally.note("hung", f"reading took more than {_WITHIN_S:g} s")
            continue
        except Exception as error:
            outcome = error
        tally.end(outcome, lambda answer: answer == wanted)
    readers.shutdown()


@contextmanager
def _readers(
    tally: Tally, call: Callable[[], Answer], is_right: Callable[[Answer], bool]
) -> Iterator[None]:
    """Threads that read again and again for as long as the block lasts."""
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            tally.ask(call, is_right, _WITHIN_S)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(_READERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _answer(path: Path) -> Answer:
    return _ranked(Catalog.open(path))


def _ranked(catalog: Catalog) -> Answer:
    """The best of each category, and what the shop says of them."""
    query = _vectors(1, seed=99)[0]
    found = []
    for category in CATEGORIES:
        hits = catalog.search(query, category, top=_TOP)
        found += [(each.id, float(each.columns["price"])) for each in hits.products]
        found.append((category, float((hits.embeddings @ query).sum())))
    return found


def _catalog(stand: Stand, name: str = "catalog.arrow", *, seed: int = 0) -> Path:
    stand.folder.mkdir(parents=True, exist_ok=True)
    path = stand.folder / name
    _write(path, seed=seed)
    return path


def _write(path: Path, *, seed: int) -> None:
    numbers = np.arange(_PRODUCTS)
    products = pa.table(
        {
            "id": [f"p{number:05d}" for number in numbers],
            "category": [CATEGORIES[number % len(CATEGORIES)] for number in numbers],
            "image": [f"https://shop.example/{number}.jpg" for number in numbers],
            "price": numbers + 0.5 * seed,
        }
    )
    vectors = _vectors(_PRODUCTS, seed)
    write_catalog(path, products, vectors, model_id=_MODEL_ID, categories=CATEGORIES)


def _vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Random directions, [count, 128]."""
    vectors = np.random.default_rng(seed).standard_normal((count, 128), np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
