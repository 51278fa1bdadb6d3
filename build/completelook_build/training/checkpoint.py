"""The state of an unfinished training, in the model's folder and replaced after every epoch."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

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
        content = self._read()
        origin = content["origin"]
        others = [name for name, value in self._origin.items() if origin.get(name) != value]
        if others:
            raise TrainingError(
                f"{self.path}: made with another {', another '.join(others)}; train with the same, "
                "or start anew without --resume"
            )
        state: dict[str, Any] = content["state"]
        return state

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(
                f"{self.path}: not a readable checkpoint ({str(error).splitlines()[0]}); start "
                "anew without --resume"
            ) from error
        return content

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state. Raises TrainingError where the folder cannot be written."""
        beside = self.path.with_name(CHECKPOINT + ".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"origin": self._origin, "state": dict(state)}, beside)
            beside.replace(self.path)
        except (OSError, RuntimeError) as error:
            raise TrainingError(f"{self.path}: cannot be written ({error})") from error

    def remove(self) -> None:
        """Training is finished: nothing is left to go on from."""
        self.path.unlink(missing_ok=True)
