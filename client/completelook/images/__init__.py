"""Pictures: from anywhere to the one tensor."""

from completelook.images.decode import ImageSource, is_url, load_image, open_image

__all__ = ["ImageSource", "is_url", "load_image", "open_image"]
