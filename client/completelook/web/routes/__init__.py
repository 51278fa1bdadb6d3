"""The routes: what may be asked over HTTP."""

from completelook.web.routes import health, products, scenes

ROUTERS = (scenes.router, products.router, health.router)

__all__ = ["ROUTERS"]
