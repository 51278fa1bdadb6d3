"""The training side of Complete the Look: data, model, training, evaluation, export."""

import warnings

# TorchScript is what Triton's libtorch backend loads; torch warns its users off making it.
warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
