"""Fetching the pictures of shop-the-look pairs from the host that serves them by signature.

    DIR/SIGNATURE.jpg   whole JPEG pictures, written beside and renamed
    DIR/missing.csv     id, url, reason of each picture that could not be had

A stopped download goes on where it was: only what is not there, or not whole, is asked for again.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from threading import Lock

from completelook.files import write_bytes, write_text

from completelook_build.console import progress_bar, say
from completelook_build.data.pairs import read_ids
from completelook_build.data.picture_host import (
    Failed,
    PictureHost,
    RateLimit,
    Refused,
    checked_picture,
    picture_url,
)
from completelook_build.errors import DataError

IN_FLIGHT = 16
_TIMEOUT_S = 20.0

# Pictures in a row that a host fails to serve before it counts as down.
_HOST_IS_DOWN = 50

# An MD5 in hexadecimal. It becomes a file name and part of a URL, so it must not be anything else.
_SIGNATURE = re.compile("[0-9a-f]{32}")
_MALFORMED = "not a signature of 32 hexadecimal digits"


@dataclass(frozen=True)
class MissingPicture:
    """A picture that could not be had, and why."""

    id: str
    url: str
    reason: str


@dataclass(frozen=True)
class DownloadReport:
    """What a download did."""

    present: int  # pictures that were there before
    fetched: int
    missing: tuple[MissingPicture, ...]
    malformed_lines: int  # of the pairs

    def summary(self) -> str:
        """The counts on one line."""
        reasons = Counter(picture.reason for picture in self.missing).most_common()
        listed = f" ({', '.join(f'{count} x {reason}' for reason, count in reasons)})"
        text = (
            f"{self.fetched} pictures fetched, {self.present} already there, "
            f"{len(self.missing)} missing{listed if reasons else ''}"
        )
        if self.malformed_lines:
            text += f"; {self.malformed_lines} malformed lines of pairs skipped"
        return text


def download_pictures(
    pairs: Path, images: Path, rate_limit: RateLimit, *, host: str, timeout_s: float = _TIMEOUT_S
) -> DownloadReport:
    """Fetch the pictures of all scenes and products of a file of pairs, `IN_FLIGHT` at a time.

    An answer that is silent for `timeout_s`, or takes longer than that in all, has failed.
    Raises DataError where the pairs cannot be read or the host seems to be down.
    """
    ids, malformed_lines = read_ids(pairs)
    images.mkdir(parents=True, exist_ok=True)
    run = _Run(images, PictureHost(host, rate_limit, in_flight=IN_FLIGHT, timeout_s=timeout_s))
    pool = ThreadPoolExecutor(IN_FLIGHT)
    try:
        with progress_bar("downloading", total=len(ids), unit="pictures") as advance:
            for finished in as_completed([pool.submit(run.provide, each) for each in ids]):
                finished.result()
                advance(1)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        raise
    finally:
        rate_limit.stop()
        pool.shutdown(cancel_futures=True)
    missing = tuple(run.missing[each] for each in ids if each in run.missing)
    _list_missing(list_path(images), missing)
    fetched = len(ids) - run.present - len(missing)
    return DownloadReport(run.present, fetched, missing, malformed_lines)


def list_path(images: Path) -> Path:
    """Where a download lists the pictures that are missing from a folder."""
    return images / "missing.csv"


class _Run:
    """One download: what is there and what is missing so far."""

    def __init__(self, images: Path, host: PictureHost) -> None:
        self.present = 0
        self.missing: dict[str, MissingPicture] = {}
        self._images = images
        self._host = host
        self._lock = Lock()
        self._failed_in_a_row = 0

    def provide(self, identifier: str) -> None:
        """Have the picture of an id in the folder, or know why not."""
        if not _SIGNATURE.fullmatch(identifier):
            self.missing[identifier] = MissingPicture(identifier, "", _MALFORMED)
            return
        path = self._images / f"{identifier}.jpg"
        if _is_whole_file(path):
            with self._lock:
                self.present += 1
            return
        url = picture_url(self._host.url, identifier)
        try:
            write_bytes(path, self._host.fetch(url))
            self._failed_in_a_row = 0
        except (Refused, Failed) as error:
            self.missing[identifier] = MissingPicture(identifier, url, str(error))
            self._count_failure(error)

    def _count_failure(self, error: Refused | Failed) -> None:
        """Give up on a host that fails picture after picture: thousands more would take hours."""
        with self._lock:
            self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(error, Failed) else 0
            if self._failed_in_a_row >= _HOST_IS_DOWN:
                raise DataError(
                    f"{self._host.url}: {self._failed_in_a_row} pictures in a row failed, the last "
                    f"with {str(error)!r}; see whether the host is up and go on with the same "
                    "command"
                )


def _is_whole_file(path: Path) -> bool:
    try:
        checked_picture(path.read_bytes())
    except (FileNotFoundError, Refused, Failed):
        return False
    return True


def _list_missing(path: Path, missing: Sequence[MissingPicture]) -> None:
    """List what is missing; where nothing is, remove an earlier run's list."""
    if not missing:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(MissingPicture)])
    writer.writerows(astuple(picture) for picture in missing)
    write_text(path, text.getvalue())
