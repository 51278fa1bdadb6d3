"""A tritonserver of one's own, without a container: for a laptop, the demo and the tests."""

from completelook.server.embedded import EmbeddedServer

__all__ = ["EmbeddedServer"]
