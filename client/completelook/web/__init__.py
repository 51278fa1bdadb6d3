"""The HTTP service: questions about scenes, answered from a catalog, for programs and the page."""

from completelook.web.app import create_app
from completelook.web.guard import Limits
from completelook.web.service import Settings
from completelook.web.uvicorn_server import serve

__all__ = ["Limits", "Settings", "create_app", "serve"]
