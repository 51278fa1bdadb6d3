"""The spectral residual, against the formula written out and on pictures whose answer is plain."""

import cmath
import math

import numpy as np
import pytest
from completelook_build.attention.saliency import _local_mean, _smoothed, spectral_residual


def bars(odd):
    """49 upright bars, none quite in its place, and one of them lying."""
    random = np.random.default_rng(0)
    picture = np.full((224, 224, 3), 60, dtype=np.uint8)
    for row in range(7):
        for column in range(7):
            y, x = 32 * np.array([row, column]) + 16 + random.integers(-3, 4, size=2)
            height, width = (4, 12) if (row, column) == odd else (12, 4)
            picture[y - height : y + height, x - width : x + width] = 220
    return picture


@pytest.mark.parametrize("odd", [(0, 0), (1, 5), (3, 3), (3, 4), (6, 2)])
def test_the_odd_one_out_is_the_most_salient(odd):
    by_bar = spectral_residual(bars(odd)).reshape(7, 2, 7, 2).sum(axis=(1, 3))  # [7, 7]
    assert np.unravel_index(by_bar.argmax(), by_bar.shape) == odd


def test_the_map_has_the_attentions_form():
    noise = np.random.default_rng(0).integers(256, size=(224, 224, 3), dtype=np.uint8)
    saliency = spectral_residual(noise)
    assert saliency.shape == (14, 14)
    assert saliency.min() >= 0
    assert saliency.sum() == pytest.approx(1)


def test_an_even_picture_has_no_salient_place():
    for level in (0, 128, 255):
        saliency = spectral_residual(np.full((224, 224, 3), level, dtype=np.uint8))
        assert saliency == pytest.approx(np.full((14, 14), 1 / 196), rel=0.05)


def test_the_map_follows_the_formula(monkeypatch):
    """The same with sums instead of a fast transform, on a size that sums can bear."""
    monkeypatch.setattr("completelook_build.attention.saliency._SIZE", 14)
    picture = np.random.default_rng(1).integers(256, size=(14, 14, 3), dtype=np.uint8)
    expected = slow_spectral_residual(picture)
    assert spectral_residual(picture) == pytest.approx(expected, rel=1e-4)


def slow_spectral_residual(picture, size=14, deviation=2.5):
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    gray = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) / 255
    cells = [(y, x) for y in range(size) for x in range(size)]

    def transform(values, sign):
        return {
            (v, u): sum(
                values[y, x] * cmath.exp(sign * 2j * math.pi * (v * y + u * x) / size)
                for y, x in cells
            )
            for v, u in cells
        }

    def inner(at):
        return min(max(at, 0), size - 1)

    spectrum = transform(gray, -1)
    logs = {cell: math.log(abs(value)) for cell, value in spectrum.items()}
    unusual = {}
    for v, u in cells:
        around = [logs[inner(v + i), inner(u + j)] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        residual = logs[v, u] - sum(around) / 9
        unusual[v, u] = cmath.exp(residual + 1j * cmath.phase(spectrum[v, u]))
    power = {cell: abs(value / size**2) ** 2 for cell, value in transform(unusual, 1).items()}
    smooth = np.zeros((size, size))
    for y, x in cells:
        weights = {
            (i, j): math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * deviation**2)) for i, j in cells
        }
        weighted = sum(weight * power[cell] for cell, weight in weights.items())
        smooth[y, x] = weighted / sum(weights.values())
    return smooth / smooth.sum()


def test_smoothing_and_local_means_leave_an_even_map_as_it_is():
    even = np.full((64, 64), 3.0)
    assert _smoothed(even) == pytest.approx(even)
    assert _local_mean(even) == pytest.approx(even)
