"""What contenders are called."""

EAGER = "eager torchvision FP32"
TORCHSCRIPT_FP32 = "TorchScript FP32"
TORCHSCRIPT_BF16 = "TorchScript BF16"
PACKED_BF16 = "TorchScript BF16, packed as Triton's stand-in does"
TORCHSCRIPT_FP16 = "TorchScript FP16"
ONNX_RUNTIME = "ONNX Runtime FP32"
OPENVINO_FP32 = "OpenVINO FP32"
OPENVINO_BF16 = "OpenVINO BF16"
SERVED = "Triton"
PRODUCTS_SERVED = "Triton, products"
LITSERVE = "LitServe"
LITSERVE_TUNED = "LitServe in the environment of our server"
FASTAPI = "FastAPI"
INDEX = "completelook index"


def at_batch(model: str, batch_size: int | str) -> str:
    """A bare model called with so many images at once."""
    return f"{model}, batch {batch_size}"


def in_flight(server: str, requests: int) -> str:
    """A server with so many requests of one image in flight."""
    return f"{server}, {requests} in flight"
