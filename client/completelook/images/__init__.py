"""Pictures: from anywhere to the one tensor."""

from completelook.images.decode import (
    ImageSource,
    is_tensor,
    load_image,
    open_image,
    readable_suffixes,
    tensor_digest,
)
from completelook.images.embedded import EmbeddedPicture, embedded_picture, shrunk, thumbnail
from completelook.images.fetch import CONNECTIONS_PER_HOST, USER_AGENT, download, host_of, is_url
from completelook.images.policy import ANY_PICTURE, PicturePolicy

__all__ = [
    "ANY_PICTURE",
    "CONNECTIONS_PER_HOST",
    "USER_AGENT",
    "EmbeddedPicture",
    "ImageSource",
    "PicturePolicy",
    "download",
    "embedded_picture",
    "host_of",
    "is_tensor",
    "is_url",
    "load_image",
    "open_image",
    "readable_suffixes",
    "shrunk",
    "tensor_digest",
    "thumbnail",
]
