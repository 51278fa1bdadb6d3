"""A second store of a catalog, as slow and plain as can be: what the others are held against."""

from collections.abc import Iterable, Sequence

import numpy as np
from completelook.catalog import Catalog, CatalogInfo, CategoryTable, Filter, Hits, conditions_only
from completelook.errors import CatalogError
from completelook.products import Product
from numpy.typing import NDArray


class DictCatalog(Catalog):
    """Products by id, searched one by one."""

    def __init__(self, model_id: int, categories: tuple[str, ...]) -> None:
        self.products: dict[str, tuple[Product, NDArray[np.float32]]] = {}
        self._model_id = model_id
        self._categories = CategoryTable(categories)

    @property
    def info(self) -> CatalogInfo:
        counts: dict[str, int] = {}
        columns: dict[str, None] = {}
        for product, _ in self.products.values():
            counts[product.category] = counts.get(product.category, 0) + 1
            columns |= dict.fromkeys(product.columns)
        return CatalogInfo("a dict", self._model_id, self._categories, counts, tuple(columns))

    def _search_many(
        self, queries: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Sequence[Hits]:
        return [self._nearest(query, category, top, where) for query in queries]

    def _nearest(
        self, query: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Hits:
        found = []
        for product, embedding in self.products.values():
            cells = {"id": product.id, "category": product.category, **product.columns}
            if product.category == category and all(
                each.matches(cells.get(each.column)) for each in conditions_only(where, "a dict")
            ):
                similarity = sum(float(a) * float(b) for a, b in zip(embedding, query, strict=True))
                found.append((-similarity, product.id))
        last = max(sorted(found)[:top], default=(0.0, ""))[0]
        return self.get(sorted(id_ for distance, id_ in found if distance <= last + 1e-9))

    def get(self, ids: Sequence[str]) -> Hits:
        if missing := [each for each in ids if each not in self.products]:
            raise CatalogError(f"a dict: holds no product {missing[0]!r}")
        found = [self.products[each] for each in ids]
        return Hits(
            [product for product, _ in found],
            np.array([embedding for _, embedding in found], np.float32).reshape(-1, 128),
        )

    def upsert(self, products: Iterable[Product], embeddings: NDArray[np.float32]) -> None:
        for product, embedding in zip(products, embeddings, strict=True):
            self.products[product.id] = (product, embedding)

    def delete(self, ids: Iterable[str]) -> int:
        return sum(self.products.pop(each, None) is not None for each in set(ids))
