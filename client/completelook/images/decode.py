"""Pictures: from whatever a user has to the one tensor the models take."""

import ctypes
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from completelook.contract import IMAGE_SIZE
from completelook.errors import ImageError
from completelook.images.fetch import MAX_BYTES, download, is_url
from completelook.images.policy import ANY_PICTURE, PicturePolicy

ImageSource: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8]

# Pillow reads many more, some of them through programs that it starts.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")

# What a HEIC picture starts with, four bytes in.
_HEIF_BRANDS = {b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")}

# Pillow scales with a support as wide as the shrinking asks for, so this is antialiased. It is the
# filter that torchvision's ImageNet weights were made with.
_RESAMPLING = Image.Resampling.BILINEAR
_TENSOR_SIZE = (IMAGE_SIZE, IMAGE_SIZE)

# libjpeg decodes at 1/2, 1/4 or 1/8 for a fraction of the time, by a coarser filter than the one
# above. On photos the tensor stays within the tolerance, a mean absolute difference from the full
# decode's in gray levels, from 3 decoded pixels for each of the tensor's on; 2 are too few.
DRAFT_TOLERANCE = 1.0
_DRAFT_SIZE = (3 * IMAGE_SIZE, 3 * IMAGE_SIZE)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow carries these along, and whoever reads a turned picture again would turn it twice.
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")

# Decoding more pictures at once than there are cores gains nothing and costs their memory.
_DECODERS = threading.BoundedSemaphore(os.cpu_count() or 1)
# Those of more are turned to RGB in bands of rows, and those of many more decoded one at a time.
_LARGE_PIXELS, _HUGE_PIXELS = 8_000_000, 16_000_000
_ONE_HUGE = threading.Lock()
_BAND_PIXELS = 1_000_000
# A few KB can hold a picture of 1 x 64 million pixels, which Pillow makes 224 wide before it is
# made shorter: that would take gigabytes.
_LONGEST_SIDE = 65_535


def readable_suffixes() -> set[str]:
    """The suffixes of pictures that can be read, such as `.jpg`; HEIC with the extra `heif`."""
    with suppress(ModuleNotFoundError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    names = Image.registered_extensions()
    return {suffix for suffix, name in names.items() if name in Image.OPEN and name in _FORMATS}


def load_image(source: ImageSource, policy: PicturePolicy = ANY_PICTURE) -> NDArray[np.uint8]:
    """The picture as the models take it, [224, 224, 3] RGB: the whole of it, squashed, antialiased.

    Takes a path, a URL (see `download`), an encoded picture's bytes, a PIL image or a uint8 array
    [height, width], [height, width, 3] or [height, width, 4].

    An encoded JPEG with both sides at least 6 times the tensor's is decoded at 1/2, 1/4 or 1/8,
    keeping 3 times the tensor's. On photos that changes the tensor by less than DRAFT_TOLERANCE, a
    mean absolute difference in gray levels; on full-contrast patterns of a few pixels by more.
    Smaller pictures and other sources are read in full.

    Raises ImageError.
    """
    picture = _opened(source, policy)
    with _DECODERS, _broken_named(source):
        if isinstance(picture, Image.Image):  # The caller's own: a draft would shrink it for good.
            return np.array(_squashed(picture))
        image = _identify(picture, policy)
        draft = image.draft(None, _DRAFT_SIZE)
        huge = image.width * image.height > _HUGE_PIXELS
        with _one_huge(image) if huge else nullcontext():
            # A draft's last row and column can reach past the picture's edge: the box ends where
            # it does.
            return np.array(_squashed(image, box=draft[1] if draft else None))


def tensor_digest(tensor: NDArray[np.uint8]) -> str:
    """The SHA-256 of a tensor as `load_image` gives it, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(tensor).data).hexdigest()


def is_tensor(source: ImageSource) -> TypeGuard[NDArray[np.uint8]]:
    """Whether `load_image` has made this, or would leave it as it is."""
    if not isinstance(source, np.ndarray):
        return False
    return source.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and source.dtype == np.uint8


def open_image(source: ImageSource, policy: PicturePolicy = ANY_PICTURE) -> Image.Image:
    """The picture upright, in RGB on white, at its full size; of an animation, the first frame.

    Takes what load_image takes. Raises ImageError.
    """
    picture = _opened(source, policy)
    with _broken_named(source):
        whole = _whole(_identify(picture, policy) if isinstance(picture, bytes) else picture)
        return whole.copy() if isinstance(whole, ImageFile) or whole is picture else whole


def _opened(source: ImageSource, policy: PicturePolicy) -> bytes | Image.Image:
    match source:
        case np.ndarray():
            return _from_array(source)
        case Image.Image() | bytes():
            return source
        case str() if is_url(source):
            return download(source, policy)
        case str() | Path():
            return _read(Path(source))
    raise ImageError(
        f"image {source!r}: expected a path, a URL, bytes, a PIL image or an array, "
        f"got {type(source).__name__}"
    )


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    is_gray = array.ndim == 2
    is_color = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype != np.uint8 or not (is_gray or is_color) or 0 in array.shape:
        raise ImageError(
            f"{_name(array)}: expected uint8 [height, width, 3], not empty "
            "(or [height, width] in gray, [height, width, 4] with transparency)"
        )
    return Image.fromarray(array)


def _read(path: Path) -> bytes:
    shown = str(path).encode("utf-8", "replace").decode()
    if shown != str(path):  # It would stand in answers, JSON and pages, which are UTF-8.
        raise ImageError(f"image {shown}: its name is not UTF-8: rename it")
    try:
        # Without waiting for who writes into a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ImageError(f"image {path}: no such file") from error
    except OSError as error:
        raise ImageError(f"image {path}: cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise ImageError(f"image {path}: is {what}, expected a file")
        if found.st_size > MAX_BYTES:
            raise ImageError(f"image {path}: is larger than {MAX_BYTES >> 20} MiB, no picture is")
        # What has no size, as the files of /proc, may never end.
        return os.fdopen(descriptor, "rb", closefd=False).read(found.st_size)
    except OSError as error:
        raise ImageError(f"image {path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


@contextmanager
def _broken_named(source: ImageSource) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{_name(source)}: is not a picture in a known format (JPEG, PNG, WebP, GIF, TIFF, "
            "BMP, AVIF, HEIC)"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{_name(source)}: has more pixels than the {Image.MAX_IMAGE_PIXELS} allowed: "
            "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except Exception as error:  # Pillow's decoders raise every kind of error on a broken file.
        raise ImageError(f"{_name(source)}: cannot be decoded: {error}") from error


def _identify(content: bytes, policy: PicturePolicy) -> Image.Image:
    if not content:
        raise ValueError("it is empty, 0 bytes")
    if content[4:12] in _HEIF_BRANDS:
        readable_suffixes()  # Registers what reads it, where that is installed.
    try:
        image = Image.open(BytesIO(content), formats=_readable_formats())
    except UnidentifiedImageError:
        if content[4:12] not in _HEIF_BRANDS:
            raise
        raise ValueError(
            "it is a HEIC picture: pip install 'completelook[heif]', or save it as JPEG"
        ) from None
    # Pillow only warns of up to twice its limit, and what a warning does is not ours to change.
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if image.width * image.height > policy.max_pixels:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, more than the {policy.max_pixels:,} "
            "allowed: shrink it, or allow more with --max-pixels"
        )
    if max(image.size) > _LONGEST_SIDE:
        raise ValueError(
            f"it has {image.width} x {image.height} pixels, a side of more than the "
            f"{_LONGEST_SIDE:,} that a JPEG can have: cut it"
        )
    return image


def _readable_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


@contextmanager
def _one_huge(image: Image.Image) -> Iterator[None]:
    """Let one huge picture be decoded at a time, and give its memory back to the system.

    The C library keeps what a thread has freed for that thread: with many, gigabytes.
    """
    with _ONE_HUGE:
        try:
            yield
        finally:
            image.close()
            with suppress(AttributeError, OSError):  # Of the GNU C library alone.
                ctypes.CDLL(None).malloc_trim(0)


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    if 0 in image.size:
        raise ValueError(f"it is empty, {image.width} x {image.height} pixels")
    return image


def _whole(image: Image.Image) -> Image.Image:
    """The picture at its full size, upright, in RGB on white."""
    if _loaded(image).mode == "RGB" and not image.has_transparency_data:
        return _turned(image, _orientation(image))
    flat = Image.new("RGB", image.size)
    for top, band in _bands_on_white(image):
        flat.paste(band, (0, top))
    return _turned(flat, _orientation(image))


def _squashed(
    image: Image.Image, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """The picture, or a box of it, at the tensor's size, upright, in RGB on white.

    Of a large one there is never a second copy: it is turned to RGB and squashed across in bands,
    and then down. In one step, as the others, it would differ by one gray level here and there.
    """
    left, top, right, bottom = box = box or (0, 0, *_loaded(image).size)
    if _loaded(image).width * image.height <= _LARGE_PIXELS:
        ((_, flat),) = _bands_on_white(image, rows=image.height)
        return _turned(flat.resize(_TENSOR_SIZE, _RESAMPLING, box), _orientation(image))
    narrow = Image.new("RGB", (IMAGE_SIZE, image.height))
    for row, band in _bands_on_white(image):
        across = (left, 0, right, band.height)
        narrow.paste(band.resize((IMAGE_SIZE, band.height), _RESAMPLING, across), (0, row))
    squashed = narrow.resize(_TENSOR_SIZE, _RESAMPLING, (0, top, IMAGE_SIZE, bottom))
    # A square can be turned as well after.
    return _turned(squashed, _orientation(image))


def _bands_on_white(
    image: Image.Image, rows: int | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """The picture in RGB on white, in bands of so many rows, each with the first of them."""
    rows = rows or max(_BAND_PIXELS // image.width, 1)

    def bands() -> Iterator[tuple[int, Image.Image]]:
        for top in range(0, image.height, rows):
            bottom = min(top + rows, image.height)
            whole = bottom - top == image.height
            yield top, image if whole else image.crop((0, top, image.width, bottom))

    if image.mode.startswith("I") or image.mode == "F":
        brightest = max(_brightest(band) for _, band in bands())
        yield from ((top, _eight_bits(band, brightest)) for top, band in bands())
    else:
        yield from ((top, _on_white(band)) for top, band in bands())


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, SyntaxError, TypeError, ValueError, Warning):  # where warnings are raised
        return 1  # The pixels of a picture with unreadable EXIF are still good.


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    if method is None:
        return image
    turned = image.transpose(method)
    for key in _ORIENTATION_KEYS:
        turned.info.pop(key, None)
    return turned


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # which copies any
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _brightest(image: Image.Image) -> float:
    values = np.asarray(image)  # [height, width]
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return float(values.max())


def _eight_bits(image: Image.Image, brightest: float) -> Image.Image:
    """A gray picture of more than 8 bits a pixel, scaled where Pillow would clip."""
    values = np.asarray(image, dtype=np.float32)  # [height, width]
    # Only 16-bit pictures say what white is; others are taken by the smallest usual scale.
    scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    white = next((scale for scale in scales if brightest <= scale), brightest)
    levels = np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8)
    levels[values == image.info.get("transparency")] = 255
    return Image.fromarray(levels).convert("RGB")


def _name(source: ImageSource) -> str:
    match source:
        case bytes():
            return f"image of {len(source)} bytes"
        case Image.Image():
            return f"image of {source.width} x {source.height} pixels, mode {source.mode}"
        case np.ndarray():
            return f"image array {list(source.shape)} of {source.dtype}"
    return f"image {source}"
