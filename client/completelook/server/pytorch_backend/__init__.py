"""What stands in for Triton's libtorch backend; a stub of Triton's imports the files by place."""

from completelook.server.pytorch_backend.fusion import EXAMPLE_BATCH, fuse

__all__ = ["EXAMPLE_BATCH", "fuse"]
