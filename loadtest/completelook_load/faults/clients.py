"""Clients that ask without end while a fault is injected, and compare every answer."""

import threading
import time
from typing import Self

from completelook import CompleteLook

from completelook_load.faults.stand import Stand, Truth
from completelook_load.faults.tally import Tally, until

_TIMEOUT_S = 10.0
_GRACE_S = 5.0  # beyond a call's own time, before it counts as hung
_PAUSE_S, _PAUSE_AFTER_FAILURE_S = 0.05, 0.1
_RECOVERY_S = 90.0


class Clients:
    """Some threads that share a client, and ask for scenes and products in turn."""

    def __init__(
        self,
        address: str,
        stand: Stand,
        truth: Truth,
        tally: Tally,
        *,
        count: int = 2,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._look = CompleteLook(address, timeout_s=timeout_s)
        self._pictures = stand.pictures
        self._truth = truth
        self._tally = tally
        self._within_s = timeout_s + _GRACE_S
        self._began_s = 0.0  # the last call that was answered rightly
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(first,), daemon=True) for first in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._look.close()

    def are_answered(self, since_s: float) -> bool:
        """Wait until a call that began after a moment is answered rightly; whether it was."""
        return until(lambda: self._began_s > since_s, _RECOVERY_S)

    def see_recovery(self, since_s: float, broken_s: float) -> None:
        """Note the recovery from what broke at a moment, and was over since another."""
        if self.are_answered(since_s):
            self._tally.recovered(broken_s)
        else:
            self._tally.note("hung", f"no right answer within {_RECOVERY_S:g} s after the fault")

    def _ask(self, first: int) -> None:
        number = first
        while not self._stop.is_set():
            number += 1
            place = number % len(self._pictures)
            picture = self._pictures[place]
            embed = self._look.embed_scene if number % 2 else self._look.embed_product
            began_s = time.monotonic()
            if self._tally.ask(
                lambda embed=embed, picture=picture: embed(picture),  # type: ignore[misc]
                lambda answer, place=place: self._truth.has(answer, place),  # type: ignore[misc]
                self._within_s,
            ):
                self._began_s = began_s
                self._stop.wait(_PAUSE_S)
            else:
                self._stop.wait(_PAUSE_AFTER_FAILURE_S)
