"""Fetching the files of a data set from mirrors, each checked by its SHA-256 before it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from batchlimit.errors import InputError

TIMEOUT_SECONDS = 20.0


def fetch_files(title: str, files: Mapping[str, str], mirrors: Sequence[str], folder: Path, *, advice: str) -> Path:
    """Put `files` (name -> SHA-256) into `folder`, each from the first of `mirrors` that serves it; return `folder`.

    A file that is there with the right hash is kept; a file appears under its name only when whole and verified.

    Raises:
        InputError: no mirror served a file; the message ends with `advice`, which says how to get it by hand.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    download = pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)
    last_good = 0
    for name, sha256 in files.items():
        reasons: list[str] = []
        # The mirror that served the last file goes first: a dead one costs its time-out once, not once a file.
        for mirror in (*mirrors[last_good:], *mirrors[:last_good]):
            try:
                pooch.retrieve(
                    f"{mirror}/{name}", known_hash=f"sha256:{sha256}", fname=name, path=folder, downloader=download
                )
            except (OSError, ValueError) as error:
                reasons.append(f"{mirror.split('/')[2]}: {_short(error)}")
                continue
            last_good = mirrors.index(mirror)
            break
        else:
            raise InputError(
                f"{title} is not on this machine and could not be fetched ({'; '.join(reasons)}). {advice}"
            )
    return folder


def _short(error: Exception) -> str:
    text = str(error)
    if "does not match the known hash" in text:
        return "the file has another SHA-256"
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if status is not None else type(error).__name__
