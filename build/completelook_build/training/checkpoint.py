"""The state of an unfinished training, in the model's folder and replaced after every epoch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from completelook.files import replacing

from completelook_build.console import say
from completelook_build.errors import TrainingError

CHECKPOINT = "checkpoint.pt"


class Checkpoint:
    """One file that a killed training goes on from, if it is asked to.

    `origin` is what the state depends on, as JSON knows it: a state of another origin is refused.
    """

    def __init__(self, folder: Path, origin: Mapping[str, object], *, resume: bool) -> None:
        self.path = folder / CHECKPOINT
        self._origin = json.loads(json.dumps(origin))
        self._resume = resume

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, None to start at the first epoch.

        Raises TrainingError where the file is damaged or was made with other data or settings.
        """
        if not self.path.exists():
            if self._resume:
                say(f"{self.path}: no such checkpoint, so training starts at the first epoch")
            return None
        if not self._resume:
            say(f"{self.path}: an unfinished training is started anew; --resume would go on")
            return None
        try:
            content = read_tensors(self.path)
            origin, state = content["origin"], dict(content["state"])
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self.path}: not a readable checkpoint ({error}); start anew without --resume"
            ) from error
        others = [name for name, value in self._origin.items() if origin.get(name) != value]
        if others:
            raise TrainingError(
                f"{self.path}: made with another {', another '.join(others)}; train with the same, "
                "or start anew without --resume"
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Raises TrainingError where the folder cannot be written."""
        try:
            with replacing(self.path) as beside:
                torch.save({"origin": self._origin, "state": dict(state)}, beside)
        except (OSError, RuntimeError) as error:
            raise TrainingError(f"{self.path}: cannot be written ({error})") from error

    def remove(self) -> None:
        """Training is finished: nothing is left to go on from."""
        self.path.unlink(missing_ok=True)


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote, tensors and plain values alone.

    Raises FileNotFoundError, and ValueError with a reason of one line for any other file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    # The unpickler of a damaged file raises whatever its bytes lead it to.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"no tensors can be read from {path.name}: {reason}") from error
