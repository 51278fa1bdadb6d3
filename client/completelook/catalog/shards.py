"""Shards: the parts in which several machines embed one table, each product in one of them."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from completelook.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` parts; which one a product is in follows from its id alone.

    So it stays when the table is sorted anew, grows or shrinks, on every machine and run.
    """

    number: int = 1  # from 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"shard {self.number}/{self.count}: expected I/N, I from 1 to N")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"

    def holds(self, product_id: str) -> bool:
        """Whether a product is in this shard."""
        digest = hashlib.blake2b(product_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def part(self, path: Path) -> Path:
        """What a shard of a file is called: `my.2-of-8.arrow`; the file where there is but one."""
        return path if self.count == 1 else path.with_name(f"{path.stem}.{self}{path.suffix}")

    def all(self) -> Iterator["Shard"]:
        """This shard and the others."""
        return (Shard(number, self.count) for number in range(1, self.count + 1))


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """A shard as the command line has it, `2/8`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None:
        raise UsageError(f"shard {text!r}: expected I/N, as in 2/8")
    return Shard(int(found[1]), int(found[2]))
