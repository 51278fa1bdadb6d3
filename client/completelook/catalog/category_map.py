"""From a shop's categories to the model's: a map that is drafted, mended by a person and read."""

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from completelook.catalog.catalog import Catalog, Embedder
from completelook.catalog.categories import CategoryTable, path_parts, paths
from completelook.errors import CategoryError, ImageError, TableError
from completelook.products import ProductSource, read_cells, read_products

SHOP, MODEL = "shop category", "model category"
_HEADER = (SHOP, MODEL, "products", "confidence", "found by")
# Words that tell no category from another.
_FILLERS = {"and", "for", "the", "of", "in", "home", "other", "all", "und", "et", "with"}
_LEAST_LIKENESS = 0.3
# Of a category, so many are looked at, spread over it.
_PICTURES = 12


@dataclass(frozen=True)
class Suggestion:
    """What a shop's category may be called by the model; with no name, nothing was found."""

    shop_category: str
    model_category: str
    products: int
    confidence: float  # 0 to 1
    found_by: str


def read_category_map(path: Path, categories: CategoryTable) -> dict[str, str]:
    """The model's category of each of a shop's, from a CSV with the columns of `draft_map`.

    A line without a model's category leaves that category as it is. Raises TableError, also for
    a category that the model does not know.
    """
    found: dict[str, str] = {}
    for number, cells in enumerate(read_cells(path, (SHOP, MODEL)), 2):
        shop_category, model_category = (cell.strip() for cell in cells)
        if not model_category:
            continue
        try:
            found[shop_category] = categories.names[categories.resolve(model_category)]
        except CategoryError as error:
            raise TableError(f"{path}, row {number}: {error}") from error
    return found


def in_model_names(
    given: Sequence[str], categories: CategoryTable, category_map: Mapping[str, str]
) -> dict[str, str]:
    """The model's name for each of a shop's categories that has one.

    By the map first, then by its own name, then by the nearest folder above it: `Rugs|round` is a
    rug where the model knows no round ones.
    """
    names: dict[str, str] = {}
    for name in dict.fromkeys(given):
        row = None if name in category_map else _row_of(name, categories)
        if name in category_map:
            names[name] = category_map[name]
        elif row is not None:
            names[name] = categories.names[row]
    return names


def draft_category_map(
    source: ProductSource,
    look: Embedder,
    columns: Mapping[str, str] | None = None,
    catalog: Catalog | None = None,
) -> str:
    """A draft of the map of a shop's products, as the CSV that `read_category_map` reads.

    With a catalog of this model, pictures of each category that no name explains are compared with
    its products. Raises TableError, ServerError, ModelMismatch.
    """
    products = read_products(source, columns).table
    names: list[Any] = products["category"].to_pylist()
    images: list[Any] = products["image"].to_pylist()
    table = CategoryTable(look.categories())
    votes: dict[str, Counter[str]] = {}
    if catalog is not None:
        for name in dict.fromkeys(names):
            if _row_of(name, table) is None:
                own = [image for image, other in zip(images, names, strict=True) if other == name]
                votes[name] = _votes(own[:: -(-len(own) // _PICTURES)], look, catalog)
    return as_csv(draft_map(Counter(names), table, votes))


def _votes(images: Sequence[str], look: Embedder, catalog: Catalog) -> Counter[str]:
    """The category of the catalog's product nearest to each picture; none of a broken one."""
    votes: Counter[str] = Counter()
    for image in images:
        try:
            product = look.embed_product(image)
        except ImageError:
            continue
        catalog.require_model(product.model_id, "the server")
        nearest = {
            name: float(
                (
                    catalog.search(product.embedding, name, top=1).embeddings @ product.embedding
                ).max()
            )
            for name in catalog.categories.names
            if name in catalog.category_counts
        }
        votes[max(nearest, key=lambda name: nearest[name])] += 1
    return votes


def draft_map(
    counts: Mapping[str, int],
    categories: CategoryTable,
    seen: Mapping[str, Counter[str]] | None = None,
) -> list[Suggestion]:
    """A suggestion for each of a shop's categories, by products: by name, words, or pictures.

    `seen` holds, for a category whose pictures were looked at, the model's categories of the
    products that look most like them.
    """
    suggestions = []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        row = _row_of(name, categories)
        if row is not None:
            suggestions.append(Suggestion(name, categories.names[row], count, 1.0, "name"))
            continue
        by_words = _by_words(name, categories)
        by_look = _by_look((seen or {}).get(name))
        category, confidence, found_by = max(by_words, by_look, key=lambda found: found[1])
        suggestions.append(Suggestion(name, category, count, confidence, found_by))
    return suggestions


def as_csv(suggestions: Sequence[Suggestion]) -> str:
    """A draft as the CSV that `read_category_map` reads, for a person to mend."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for each in suggestions:
        confidence = f"{each.confidence:.2f}"
        own = (each.shop_category, each.model_category, each.products, confidence, each.found_by)
        writer.writerow(own)
    return text.getvalue()


def _row_of(name: str, categories: CategoryTable) -> int | None:
    """The row of a category or of the nearest one above it in its path that the model knows."""
    # The name as it stands first: a slash in it may be a part of it or a separator.
    above = (
        "|".join(parts[:length]) for parts in paths(name) for length in range(len(parts), 0, -1)
    )
    for tried in (name, *above):
        try:
            return categories.resolve(tried)
        except CategoryError:
            continue
    return None


def _by_words(name: str, categories: CategoryTable) -> tuple[str, float, str]:
    """The category with most words in common, the last part of a path counting double."""
    scores = {known: _likeness(name, known) for known in categories.names}
    best = max(scores, key=lambda known: scores[known], default="")
    if not best or scores[best] < _LEAST_LIKENESS:
        return "", 0.0, "nothing"
    return best, scores[best], "words"


def _likeness(name: str, known: str) -> float:
    own, other = _words(name), _words(known)
    shared = sum(
        max((weight * own[word] for word in own if _same(word, theirs)), default=0)
        for theirs, weight in other.items()
    )
    most = sum(weight**2 for weight in own.values()) + sum(weight**2 for weight in other.values())
    return 2 * shared / most if most else 0.0


def _words(name: str) -> dict[str, int]:
    """The words of a path and their weights."""
    parts = path_parts(name)
    words: dict[str, int] = {}
    for place, part in enumerate(parts, 1):
        for word in re.findall(r"\w{2,}", part):
            if word not in _FILLERS:
                words[word] = 2 if place == len(parts) else 1
    return words


def _same(word: str, other: str) -> bool:
    """Whether two words are one but for an ending: rug and rugs, lamp and lamps, sofabed."""
    return difflib.SequenceMatcher(None, word, other).ratio() >= 0.8


def _by_look(votes: Counter[str] | None) -> tuple[str, float, str]:
    if not votes:
        return "", 0.0, "nothing"
    (category, count), *_ = votes.most_common(1)
    return category, count / votes.total(), "pictures"
