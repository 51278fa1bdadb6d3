"""Small pictures, and pictures within a page that needs no other file."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

from completelook.errors import ImageError
from completelook.images.decode import ImageSource, open_image
from completelook.images.policy import ANY_PICTURE, PicturePolicy


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture inside a page."""

    data: str  # a data URI, empty when the picture cannot be opened
    width: int = 0
    height: int = 0
    problem: str = ""


def embedded_picture(image: Image.Image) -> EmbeddedPicture:
    """The picture as a page without other files holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return EmbeddedPicture(f"data:image/webp;base64,{data}", image.width, image.height)


def thumbnail(
    source: ImageSource, longest_side: int, policy: PicturePolicy = ANY_PICTURE
) -> EmbeddedPicture:
    """A small picture, or why there is none."""
    try:
        return embedded_picture(shrunk(open_image(source, policy), longest_side))
    except ImageError as exc:
        return EmbeddedPicture(data="", problem=str(exc))


def shrunk(picture: Image.Image, longest_side: int) -> Image.Image:
    """A copy of the picture, no side longer than `longest_side` pixels."""
    copy = picture.copy()
    copy.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return copy
