"""Bounds by pairs: what any set with a candidate costs at least, in a sum over pairs of slots."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class PairBounds:
    """Bounds from below by pairs of slots: the sum of each pair's least cost.

    A candidate's own cost may be shared among its pairs in any way; sharing so that each of them
    has as little left raises the bound, one slot after the other. This is max-product linear
    programming in its form for stars, Globerson and Jaakkola, NIPS 2007; it nears the bound of
    the program's relaxation, and tells of every candidate what a set with it costs at least.
    """

    def __init__(
        self,
        costs: Sequence[NDArray[np.float64]],
        near: Mapping[tuple[int, int], NDArray[np.float32]],
        prices: Sequence[NDArray[np.float64]],
        *,
        budget: float,
        weight: float,
    ) -> None:
        """Costs and prices [n] of each slot's candidates, nearness [n, m] of each pair of slots."""
        self._own = [
            cost + weight * price if weight else cost
            for cost, price in zip(costs, prices, strict=True)
        ]
        self._prices = list(prices)
        self._near = dict(near)
        self._limit = budget
        self._off = weight * budget if weight else 0.0
        self._shares = {
            (one, other): (self._own[one] / (len(costs) - 1)).astype(np.float32)
            for pair in near
            for one, other in (pair, pair[::-1])
        }
        self._least = dict.fromkeys(near, -np.inf)
        self.weight = weight  # of a unit of price, never below zero
        self.bound = -np.inf

    def sweep(self) -> list[NDArray[np.float64]]:
        """Share anew, slot by slot; what a set with each candidate costs at least."""
        bounds = []
        for slot, own in enumerate(self._own):
            others = [each for each in range(len(self._own)) if each != slot]
            best = {other: self._best_partner(slot, other) for other in others}  # each [n]
            total = own + sum(best.values())  # [n]
            for other in others:
                self._shares[slot, other] = (total / len(others) - best[other]).astype(np.float32)
                self._least[min(slot, other), max(slot, other)] = float(total.min()) / len(others)
            rest = sum(least for pair, least in self._least.items() if slot not in pair)
            bounds.append(total + (rest - self._off))
            self.bound = max(self.bound, float(bounds[-1].min()))
        return bounds

    def weigh(self, step: float) -> None:
        """Let a unit of price count so much more, and the budget take off as much."""
        self.weight += step
        self._off += step * self._limit
        shares = [step * prices / (len(self._own) - 1) for prices in self._prices]
        self._own = [
            own + step * prices for own, prices in zip(self._own, self._prices, strict=True)
        ]
        for slot, other in self._shares:
            self._shares[slot, other] = self._shares[slot, other] + shares[slot].astype(np.float32)
        for one, other in self._least:
            self._least[one, other] += float(shares[one].min() + shares[other].min())

    def keep(self, fitting: Sequence[NDArray[np.bool_]]) -> None:
        """Go on with some of the candidates."""
        self._own = [own[fits] for own, fits in zip(self._own, fitting, strict=True)]
        self._prices = [each[fits] for each, fits in zip(self._prices, fitting, strict=True)]
        for (one, other), near in self._near.items():
            self._near[one, other] = near[np.ix_(fitting[one], fitting[other])]
        for (one, other), share in self._shares.items():
            self._shares[one, other] = share[fitting[one]]

    def _best_partner(self, slot: int, other: int) -> NDArray[np.float64]:
        """What each candidate's best partner in another slot costs, with its nearness, [n]."""
        share = self._shares[other, slot]
        if slot < other:
            best = (self._near[slot, other] + share).min(axis=1)
        else:
            best = (self._near[other, slot] + share[:, np.newaxis]).min(axis=0)
        return np.asarray(best, np.float64)
