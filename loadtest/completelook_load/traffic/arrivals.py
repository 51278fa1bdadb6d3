"""When requests arrive that do not wait for each other's answers."""

import numpy as np
from numpy.typing import NDArray


def arrival_times(
    rate: float, duration_s: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Moments in [0, duration_s), ascending [N]: a Poisson process at a constant rate.

    N is not left to chance, so that a stage offers exactly its rate: given their number, the
    arrivals of a Poisson process are independent and uniform.
    """
    count = max(1, round(rate * duration_s))
    return np.sort(random.uniform(0, duration_s, count))
