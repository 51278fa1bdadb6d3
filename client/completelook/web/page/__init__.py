"""The page: a photo, what suits it, why, and all that a person may change about the answer."""

from completelook.web.page.routes import router

__all__ = ["router"]
