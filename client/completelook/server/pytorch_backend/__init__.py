"""What stands in for Triton's libtorch backend; a stub of Triton's imports the files by place."""

from completelook.server.pytorch_backend.convolutions import pack_convolutions

__all__ = ["pack_convolutions"]
