import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from completelook.errors import ImageError
from completelook.images import PicturePolicy, load_image, open_image
from completelook.images import decode as _images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, form="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def halves(left=RED, right=BLUE, size=(40, 20)):
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def test_the_tensor_is_the_whole_picture_squashed():
    tensor = load_image(halves(size=(600, 90)))
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.uint8
    assert (tensor[:, :108] == RED).all()
    assert (tensor[:, 116:] == BLUE).all()


def test_the_tensor_can_be_written_to():
    load_image(halves())[0, 0] = 7


def test_a_tensor_passes_unchanged():
    tensor = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    assert np.array_equal(load_image(tensor), tensor)
    assert np.array_equal(load_image(encoded(Image.fromarray(tensor))), tensor)


def test_shrinking_is_antialiased():
    lines = np.zeros((1120, 1120, 3), np.uint8)
    lines[:, ::2] = 255  # finer than the tensor's pixels: only gray is right
    assert np.abs(load_image(lines)[:, 4:-4].astype(int) - 128).max() <= 16


def photo_like(seed, width, height):
    """Smooth color, edges and the grain of a sensor, as in photos; [height, width, 3]."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    for _ in range(6):
        left, top = random.integers(0, width), random.integers(0, height)
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        smooth.paste(color, (left, top, left + width // 5, top + height // 5))
    grain = random.normal(0, 8, (height, width, 1))
    return (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)


def mean_difference(content):
    """Of a JPEG's tensor to the one that the whole picture gives, in gray levels."""
    whole = load_image(open_image(content)).astype(int)
    return np.abs(load_image(content).astype(int) - whole).mean()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1344, 2100), st.integers(1344, 2100)),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(60, 95),
    progressive=st.booleans(),
    orientation=st.sampled_from(list(range(1, 9))),
)
def test_a_large_jpeg_gives_the_whole_pictures_tensor_within_the_tolerance(
    seed, size, mode, quality, progressive, orientation
):
    picture = Image.fromarray(photo_like(seed, *size)).convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encoded(picture, "JPEG", quality=quality, progressive=progressive, exif=exif)
    assert mean_difference(content) < _images.DRAFT_TOLERANCE


def test_a_large_jpeg_is_decoded_at_a_smaller_scale(monkeypatch):
    content = encoded(Image.fromarray(photo_like(0, 2689, 2688)), "JPEG")
    decoded = []
    on_white = _images._on_white
    monkeypatch.setattr(_images, "_on_white", lambda i: decoded.append(i.size) or on_white(i))
    load_image(content)
    assert decoded == [(673, 672)]


@pytest.mark.parametrize("size", [(1343, 3000), (3000, 1343), (1000, 700), (224, 224), (5, 3)])
def test_a_jpeg_short_of_six_times_the_tensor_is_read_whole(size):
    assert mean_difference(encoded(Image.fromarray(photo_like(1, *size)), "JPEG")) == 0


def test_a_callers_own_jpeg_keeps_its_size():
    picture = Image.open(BytesIO(encoded(Image.fromarray(photo_like(2, 1500, 1400)), "JPEG")))
    load_image(picture)
    assert picture.size == (1500, 1400)


def test_every_kind_of_source_gives_the_same(tmp_path):
    image = halves()
    path = tmp_path / "a.png"
    image.save(path)
    expected = load_image(image)
    for source in (path, str(path), path.read_bytes(), np.asarray(image), Image.open(path)):
        assert np.array_equal(load_image(source), expected)


def test_an_rgb_picture_is_not_copied_on_its_way_to_the_tensor(monkeypatch):
    content = encoded(Image.fromarray(photo_like(3, 300, 200)), "JPEG")
    expected = load_image(content)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("copied"))
    assert np.array_equal(load_image(content), expected)


def test_an_opened_picture_is_not_the_callers_own():
    image = halves()
    open_image(image).paste(GREEN, (0, 0, 40, 20))
    assert image.getpixel((0, 0)) == RED


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, form):
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24] = 255  # white in the corner at the top left of the upright picture
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(pixels)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    upright = np.asarray(open_image(encoded(stored, form, exif=exif)))
    assert upright.shape == (32, 48, 3)
    assert upright[4:12, 4:20].min() > 230
    assert max(upright[20:].max(), upright[:, 28:].max()) < 25


def test_unreadable_exif_leaves_the_picture_as_it_is():
    content = encoded(halves(), "JPEG", exif=b"Exif\0\0no tiff header, no tags")
    assert open_image(content).size == (40, 20)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(form):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(1, 256)
    gray = np.asarray(open_image(encoded(Image.fromarray(ramp), form)))
    assert np.array_equal(gray, np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3))


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        pytest.param("I;16", [0, 32768, 65535], id="16-bit"),
        pytest.param("I;16B", [0, 32768, 65535], id="16-bit, big-endian"),
        pytest.param("I", [0, 32768, 65535], id="32-bit holding 16"),
        pytest.param("I", [0, 2**30, 2**31 - 1], id="32-bit"),
        pytest.param("F", [0.0, 0.5, 1.0], id="float to 1"),
        pytest.param("F", [-3.0, 128.0, 255.0], id="float to 255"),
        pytest.param("F", [0.0, 32768.0, 65535.0], id="float to 65535"),
    ],
)
def test_deep_modes_keep_their_scale(mode, values):
    image = Image.new(mode, (3, 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    black, middle, white = np.asarray(open_image(image))[0]
    assert (black == 0).all()
    assert np.isin(middle, [127, 128]).all()
    assert (white == 255).all()


def test_a_black_deep_picture_is_black():
    assert (load_image(Image.new("I", (2, 2))) == 0).all()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), id="RGBA"),
        pytest.param(Image.new("LA", (4, 4), (0, 0)), id="LA"),
        pytest.param(Image.new("PA", (4, 4), (0, 0)), id="PA"),
    ],
)
def test_transparency_is_flattened_on_white(image):
    assert (np.asarray(open_image(image)) == WHITE).all()


def test_half_transparency_is_blended_with_white():
    pixel = np.asarray(open_image(Image.new("RGBA", (4, 4), (255, 0, 0, 128))))[0, 0]
    assert np.abs(pixel.astype(int) - (255, 127, 127)).max() <= 1


@pytest.mark.parametrize(
    ("mode", "color", "transparency"),
    [
        pytest.param("P", 0, 0, id="palette, one index"),
        pytest.param("P", 0, b"\x00\xff", id="palette, bytes"),
        pytest.param("RGB", (1, 2, 3), (1, 2, 3), id="RGB"),
        pytest.param("L", 7, 7, id="gray"),
        pytest.param("1", 0, 0, id="bilevel"),
        pytest.param("I;16", 700, 700, id="16-bit gray"),
    ],
)
def test_a_transparent_color_of_png_becomes_white(mode, color, transparency):
    image = Image.new(mode, (4, 4), color)
    if mode == "P":
        image.putpalette([1, 2, 3, 4, 5, 6])
    content = encoded(image, "PNG", transparency=transparency)
    assert (np.asarray(open_image(content)) == WHITE).all()


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_keeps_its_colors(form):
    quantized = halves().quantize(4)
    assert quantized.mode == "P"
    assert np.array_equal(np.asarray(open_image(encoded(quantized, form))), np.asarray(halves()))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colors(form):
    image = halves(WHITE, GREEN).convert("CMYK")
    content = encoded(image, form)
    assert Image.open(BytesIO(content)).mode == "CMYK"
    opened = np.asarray(open_image(content)).astype(int)
    assert np.abs(opened[:, :16] - WHITE).max() <= 6
    assert np.abs(opened[:, -16:] - GREEN).max() <= 6


@pytest.mark.parametrize("mode", ["1", "L", "YCbCr", "HSV", "LAB"])
def test_other_modes_become_rgb(mode):
    assert (np.asarray(open_image(Image.new(mode, (4, 4)))).shape) == (4, 4, 3)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(form):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE, GREEN)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    first = np.asarray(open_image(content)).astype(int)
    assert np.abs(first - RED).max() <= 3


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(np.full((3, 5), 9, np.uint8), (9, 9, 9), id="gray"),
        pytest.param(np.full((3, 5, 3), 9, np.uint8)[:, ::-1], (9, 9, 9), id="strided"),
        pytest.param(np.zeros((3, 5, 4), np.uint8), WHITE, id="transparent"),
    ],
)
def test_arrays_of_three_layouts_are_taken(array, expected):
    opened = open_image(array)
    assert opened.size == (5, 3)
    assert (np.asarray(opened) == expected).all()


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.zeros((4, 4, 3), np.float32), id="float"),
        pytest.param(np.zeros((4, 4, 3), bool), id="bool"),
        pytest.param(np.zeros((3, 4, 8), np.uint8), id="channels first"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="no rows"),
        pytest.param(np.zeros((1, 4, 4, 3), np.uint8), id="a batch"),
        pytest.param(np.zeros((), np.uint8), id="a number"),
    ],
)
def test_other_arrays_are_refused_by_shape_and_type(array):
    with pytest.raises(ImageError, match=r"expected uint8 \[height, width, 3\]") as caught:
        load_image(array)
    assert str(array.dtype) in str(caught.value)
    assert str(list(array.shape)) in str(caught.value)


def test_what_is_no_source_is_refused():
    with pytest.raises(ImageError, match=r"expected a path, .*got NoneType"):
        load_image(None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<html>not found</html>", "not a picture in a known format", id="html"),
        pytest.param(encoded(halves(size=(300, 300)))[:120], "truncated", id="truncated png"),
        pytest.param(
            encoded(halves(size=(300, 300)), "JPEG")[:900], "truncated", id="truncated jpeg"
        ),
    ],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=f"image of {len(content)} bytes: .*{reason}"):
        load_image(content)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.jpg", "no such file"), (".", "is a folder"), ("a\0b", "no such file")],
    ids=["missing", "folder", "impossible name"],
)
def test_what_is_no_file_is_refused(tmp_path, name, reason):
    with pytest.raises(ImageError, match=reason):
        load_image(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(halves()))
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        load_image(path)


def test_an_oversized_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_images, "MAX_BYTES", 100)
    path = tmp_path / "big.bmp"
    halves().save(path)
    with pytest.raises(ImageError, match="larger than"):
        load_image(path)


@pytest.mark.parametrize("pixels", [500, 300], ids=["Pillow warns", "Pillow refuses"])
def test_a_bomb_is_refused_with_the_way_out(monkeypatch, pixels):
    content = encoded(halves())  # 800 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(ImageError, match=rf"{pixels} allowed.*MAX_IMAGE_PIXELS"):
        load_image(content)


def test_an_empty_pil_image_is_refused():
    with pytest.raises(ImageError, match="0 x 0"):
        load_image(Image.new("RGB", (0, 0)))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ImageError, match="not finite"):
        load_image(Image.new("F", (2, 2), float("nan")))


def test_threads_decode_alike_and_leave_the_warning_filters_alone():
    content = encoded(halves(size=(300, 200)), "JPEG")
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        tensors = list(pool.map(load_image, [content] * 64))
    assert all(np.array_equal(tensor, tensors[0]) for tensor in tensors)
    assert list(warnings.filters) == filters


def test_what_another_thread_warns_of_during_decoding_is_seen(monkeypatch):
    seen, filters, open_ = [], warnings.filters, Image.open

    def warn():
        try:
            warnings.warn("of the application", UserWarning, stacklevel=1)
        except UserWarning as warning:  # as the tests' own filters have it
            seen.append(str(warning))

    def open_meanwhile(file, **options):
        assert warnings.filters is filters
        thread = threading.Thread(target=warn)
        thread.start()
        thread.join()
        return open_(file, **options)

    monkeypatch.setattr(Image, "open", open_meanwhile)
    load_image(encoded(halves()))
    assert seen == ["of the application"]


def test_a_bomb_is_refused_whatever_becomes_of_warnings(monkeypatch):
    content = encoded(halves())  # 800 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError, match="500 allowed"):
            load_image(content)


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=80), head=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]))
def test_no_bytes_raise_anything_but_an_image_error(content, head):
    start = encoded(halves(), head)[:60]
    for broken in (content, start + content):
        try:
            tensor = load_image(broken)
        except ImageError:
            continue
        assert tensor.shape == (224, 224, 3)


def real_photos():
    folder = Path(__file__).parents[2] / "shared" / "ikea" / "images"
    if not folder.is_dir():
        pytest.skip("the real photos are not here")
    return sorted(folder.glob("*.jpg"))[:200:20]


def test_real_photos_open_upright():
    for path in real_photos():
        assert load_image(path).std() > 0


def test_photos_as_detailed_as_real_ones_stay_within_the_tolerance():
    mosaic = Image.new("RGB", (2000, 2000), "white")  # of real photos, their pixels as they are
    for place, path in enumerate(real_photos()):
        mosaic.paste(open_image(path), (place % 4 * 500, place // 4 * 700))
    assert 0 < mean_difference(encoded(mosaic, "JPEG", quality=90)) < _images.DRAFT_TOLERANCE


def test_a_turned_picture_is_not_turned_again(tmp_path):
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("black", (0, 0, 20, 20))
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(tmp_path / "photo.jpg", exif=exif, quality=100)
    opened = open_image(tmp_path / "photo.jpg")
    assert opened.size == (20, 40)
    assert open_image(opened).size == (20, 40)
    assert np.array_equal(load_image(opened), load_image(tmp_path / "photo.jpg"))


def test_a_heic_of_a_phone_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.new("RGB", (64, 48), (200, 30, 20))
    pillow_heif.from_pillow(picture).save(tmp_path / "phone.heic", quality=90)
    tensor = load_image(tmp_path / "phone.heic")
    assert np.abs(tensor.mean(axis=(0, 1)) - (200, 30, 20)).max() < 4


def test_a_heic_without_the_extra_says_what_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for registry in (Image.OPEN, Image.EXTENSION):
        for key in [key for key in registry if "HEIF" in (key, registry[key])]:
            monkeypatch.delitem(registry, key)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    with pytest.raises(ImageError, match=r"HEIC picture: pip install 'completelook\[heif\]'"):
        load_image(b"\0\0\0\x18ftypheic" + b"\0" * 64)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "1", "CMYK", "I;16", "F"])
def test_bands_of_rows_change_a_gray_level_at_most(mode, monkeypatch):
    pixels = photo_like(5, 300, 500)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(pixels[..., 0]))
    if mode in ("I;16", "F"):
        values = pixels[..., 0].astype(np.uint16 if mode == "I;16" else np.float32)
        image = Image.fromarray(values * (200 if mode == "I;16" else 1))
    else:
        image = image.convert(mode)
    monkeypatch.setattr(_images, "_BAND_PIXELS", 10**9)
    flat, squashed = np.asarray(open_image(image)), load_image(image)
    expected = Image.fromarray(flat).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(squashed, np.asarray(expected))
    monkeypatch.setattr(_images, "_BAND_PIXELS", 4096)
    monkeypatch.setattr(_images, "_LARGE_PIXELS", 0)
    assert np.array_equal(np.asarray(open_image(image)), flat)
    np.testing.assert_allclose(load_image(image).astype(int), squashed.astype(int), atol=1)


def png_of_zeros(side, channels):
    """A PNG of 64 million pixels in a few KB, without ever holding it."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    packer = zlib.compressobj(9)
    row = bytes(1 + channels * side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


PEAK = """
import resource, sys, threading
from completelook import load_image
load_image(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=load_image, args=(path,)) for path in sys.argv[2:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1), (7, 4_849_664)])
def test_a_picture_of_a_few_pixels_by_millions_is_refused(size):
    """Found by fuzzing: 217 bytes of a TIFF took 4 GB."""
    content = encoded(Image.new("L", size), "TIFF", compression="tiff_lzw")
    for read in (load_image, open_image):
        with pytest.raises(ImageError, match=rf"{size[0]} x {size[1]} pixels, a side of more than"):
            read(content)


@pytest.mark.slow
def test_the_largest_pictures_stay_under_400_mb_also_several_at_once(tmp_path):
    (tmp_path / "small.png").write_bytes(encoded(halves()))
    large = [tmp_path / f"{channels}.png" for channels in (3, 4)]
    for channels, path in zip((3, 4), large, strict=True):
        path.write_bytes(png_of_zeros(8000, channels))
    command = [sys.executable, "-c", PEAK, tmp_path / "small.png", *large, *large]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400


def test_more_pixels_than_the_policy_allows_are_refused_before_they_are_decoded():
    content = encoded(halves())  # 800 pixels
    assert load_image(content, PicturePolicy(max_pixels=800)).shape == (224, 224, 3)
    for read in (load_image, open_image):
        with pytest.raises(ImageError, match=r"40 x 20 pixels, more than the 799 .*--max-pixels"):
            read(content, PicturePolicy(max_pixels=799))
    with pytest.raises(ImageError, match="8001 x 8001 pixels, more than the 64,000,000 allowed"):
        load_image(png_of_zeros(8001, 3))


@pytest.mark.parametrize("form", ["PPM", "EPS", "ICO", "TGA"])
def test_formats_that_no_catalog_needs_are_not_opened(form):
    with pytest.raises(ImageError, match="not a picture in a known format"):
        load_image(encoded(halves(), form))


def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "kernel.jpg").symlink_to("/proc/kmsg")
    (tmp_path / "null.jpg").symlink_to("/dev/zero")
    for name, reason in (
        ("pipe", "no regular file"),
        ("null", "no regular file"),
        ("kernel", "empty|cannot be read"),
    ):
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / f"{name}.jpg")


def test_a_picture_whose_name_is_no_text_is_refused(tmp_path):
    picture = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xfcm.png"))
    Image.new("RGB", (8, 8)).save(picture)
    with pytest.raises(ImageError, match=r"r\?m\.png: its name is not UTF-8: rename it"):
        load_image(picture)
