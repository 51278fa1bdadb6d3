"""Calibration: what a distance means, as the probability that a product complements a scene."""

import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """A map from distance to compatibility: straight between its K knots and level beyond them.

    A compatibility is the probability, where a true product and a random one of its category are
    equally likely, that the product at this distance is the true one. Raises ValueError where the
    knots make no such map.
    """

    distances: tuple[float, ...]  # [K], rising
    compatibilities: tuple[float, ...]  # [K], in [0, 1], never rising

    def __post_init__(self) -> None:
        if not 0 < len(self.distances) == len(self.compatibilities):
            raise ValueError(
                f"{len(self.distances)} distances and {len(self.compatibilities)} compatibilities, "
                "expected as many of both, at least one"
            )
        # Written so that NaN fails as well.
        if not all(math.isfinite(distance) for distance in self.distances) or not all(
            before < after for before, after in pairwise(self.distances)
        ):
            raise ValueError("the distances do not rise")
        if not all(0 <= value <= 1 for value in self.compatibilities) or not all(
            before >= after for before, after in pairwise(self.compatibilities)
        ):
            raise ValueError("the compatibilities do not fall within 0..1")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the knots from a JSON object, which may hold more. Raises ValueError."""
        try:
            fields = json.loads(text)
            return cls(
                tuple(float(distance) for distance in fields["distances"]),
                tuple(float(value) for value in fields["compatibilities"]),
            )
        except (TypeError, KeyError) as exc:
            raise ValueError(f"no list of numbers ({type(exc).__name__}: {exc})") from exc

    def as_json(self) -> str:
        """The knots as a JSON object, for `from_json`."""
        return json.dumps(asdict(self))

    def compatibility(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The compatibility at each of some distances, of the same shape."""
        return np.asarray(np.interp(distances, self.distances, self.compatibilities))
