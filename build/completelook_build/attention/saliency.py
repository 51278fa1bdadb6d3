"""A generic saliency map, to hold the attention against: it knows no category and no training.

Hou, Zhang: Saliency Detection: A Spectral Residual Approach, CVPR 2007.
"""

import numpy as np
from completelook.contract import REGION_GRID, REGIONS
from numpy.typing import NDArray
from PIL import Image

# The paper's scale: larger, and details stand out instead of objects.
_SIZE = 64
# What its authors published smooths by this many pixels.
_DEVIATION_PIXELS = 2.5
# Added to the amplitudes, since a frequency that a picture lacks has no logarithm.
_SMALLEST = 1e-9

Array = NDArray[np.float64]


def spectral_residual(image: NDArray[np.uint8]) -> Array:
    """Where a picture [height, width, 3] stands out from itself, [14, 14], its sum 1.

    What all pictures have in common is a smooth log amplitude spectrum; what is left of this one's
    beyond its local mean is the residual R, and the saliency |F^-1(exp(R + i phase))|^2.
    """
    gray = Image.fromarray(image).convert("L").resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
    levels = np.asarray(gray, np.float64) / 255  # [64, 64]
    if np.ptp(levels) == 0:
        return np.full((REGION_GRID, REGION_GRID), 1.0 / REGIONS)  # nothing stands out
    spectrum = np.fft.fft2(levels)  # [64, 64]
    log_amplitude = np.log(np.abs(spectrum) + _SMALLEST)
    residual = log_amplitude - _local_mean(log_amplitude)
    unusual = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))  # [64, 64]
    return _on_grid(_smoothed(np.square(np.abs(unusual), dtype=np.float64)))


def _local_mean(values: Array) -> Array:
    """The mean of each value's 3 x 3 neighborhood, the edges repeated."""
    padded = np.pad(values, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))  # [..., 3, 3]
    mean: Array = windows.mean(axis=(-2, -1))
    return mean


def _smoothed(values: Array) -> Array:
    """A Gaussian blur, as one matrix from either side; at the edges its weights still sum to 1."""
    offsets = np.subtract.outer(np.arange(_SIZE), np.arange(_SIZE))
    weights = np.exp(-((offsets / _DEVIATION_PIXELS) ** 2) / 2)  # [64, 64]
    weights /= weights.sum(axis=1, keepdims=True)
    smooth: Array = weights @ values @ weights.T
    return smooth


def _on_grid(values: Array) -> Array:
    """The exact mean over each region of the attention's grid, scaled to a sum of 1."""
    relative = Image.fromarray((values / values.max()).astype(np.float32))
    means = np.asarray(
        relative.resize((REGION_GRID, REGION_GRID), Image.Resampling.BOX), np.float64
    )
    grid: Array = means / means.sum()
    return grid
