"""A shop's table, looked at and changed a part at a time, so that it is held once and not twice."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_AT_ONCE = 1 << 10  # rows
_FEW = 1000  # gaps, before it is better to copy what is left


def changed(column: Any, change: Callable[[Any], Any]) -> Any:
    """A column of texts, changed part by part; where nothing changes, it is the one given."""
    chunks = []
    for chunk in column.chunks:
        parts = [chunk.slice(start, _AT_ONCE) for start in range(0, len(chunk), _AT_ONCE)]
        is_same = True
        for place, part in enumerate(parts):
            other = change(part)
            if not other.equals(part):
                parts[place], is_same = other, False
        chunks.append(chunk if is_same else pa.concat_arrays(parts))
    return pa.chunked_array(chunks, pa.string())


def order_of(ids: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The rows in the order of their ids, equal ones as they came, and which repeat the one before.

    Both [N], the second in the same order.
    """
    import pyarrow.compute as pc

    whole = ids.chunk(0) if ids.num_chunks == 1 else ids.combine_chunks()
    order: NDArray[np.int64] = pc.sort_indices(whole).to_numpy().view(np.int64)
    repeats = np.zeros(len(order), np.bool_)
    for start in range(1, len(order), _AT_ONCE):
        sorted_ids: Any = whole.take(pa.array(order[start - 1 : start + _AT_ONCE]))
        is_equal: Any = pc.equal(sorted_ids[1:], sorted_ids[:-1])
        repeats[start : start + _AT_ONCE] = is_equal.to_numpy(zero_copy_only=False)
    return order, repeats


def only(table: pa.Table, is_kept: NDArray[np.bool_]) -> pa.Table:
    """The rows that are kept; where few are not, without a copy of the others."""
    edges = np.flatnonzero(np.diff(is_kept, prepend=False, append=False)).tolist()
    if len(edges) > 2 * _FEW:
        return table.filter(pa.array(is_kept))
    kept = [table.slice(first, stop - first) for first, stop in list(pairwise(edges))[::2]]
    return pa.concat_tables(kept) if kept else table.slice(0, 0)


def taken(column: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of a column as one array; pyarrow's own take copies all of one that has chunks."""
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    chunk_of = np.searchsorted(ends, rows, side="right")  # [n]
    held = np.unique(chunk_of).tolist()
    starts = ends - [len(chunk) for chunk in column.chunks]
    parts = [
        column.chunk(each).take(pa.array((rows - starts[each])[chunk_of == each])) for each in held
    ]
    if len(parts) == 1:
        return parts[0]
    place = np.argsort(np.argsort(chunk_of, kind="stable"), kind="stable")
    return pa.concat_arrays(parts).take(pa.array(place))
