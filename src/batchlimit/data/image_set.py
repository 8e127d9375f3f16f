"""A known MNIST-like data set: found where users have it, else fetched, always verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchlimit.data import datasets
from batchlimit.data.fetching import fetch_files
from batchlimit.data.image_arrays import PARTS, ImageArrays
from batchlimit.data.places import Layout, cache_folder, data_folder, places, read_idx_folder, write_idx_folder
from batchlimit.data.splits import DataSet
from batchlimit.errors import InputError

UNVERIFIED = "BATCHLIMIT_DATA_UNVERIFIED"


@dataclass(frozen=True)
class ImageSet:
    """A data set of 28 x 28 grey images in ten classes whose contents are known by their SHA-256.

    `content` has the hash of each uncompressed IDX file, `archives` that of each .gz file as the `mirrors` (addresses
    without the file name) serve it; both by the names in `PARTS`.
    """

    name: str
    title: str
    content: Mapping[str, str]
    archives: Mapping[str, str]
    mirrors: tuple[str, ...]
    layout: Layout
    validation_size: int

    def load(self) -> DataSet:
        """Return the examples: images (N, 1, 28, 28) uint8 in 0..255, labels (N,) int64.

        Raises:
            InputError: the data in BATCHLIMIT_DATA are damaged or unknown, or there are none and no mirror answers.
        """
        found, faults = self._search()
        arrays = found[0] if found is not None else self._read_fetched(self._fetch(faults))
        return arrays.dataset(validation_size=self.validation_size)

    def find(self) -> tuple[str, bool] | None:
        """Return where the set is and whether its contents are the known ones, None where it is not or is faulty."""
        try:
            found, _ = self._search()
        except InputError:
            return None
        return (found[0].origin, found[1]) if found is not None else None

    def fetch(self) -> Path:
        """Get the set unless it is on this machine, and return its folder (BATCHLIMIT_DATA, else our cache)."""
        found, faults = self._search()
        if found is not None:
            return Path(found[0].origin)
        folder = self._fetch(faults)
        self._read_fetched(folder)
        return folder

    def _search(self) -> tuple[tuple[ImageArrays, bool] | None, list[str]]:
        """Return the arrays and whether they are verified, or None; and what was wrong with places passed over."""
        faults: list[str] = []
        unverified_allowed = os.environ.get(UNVERIFIED, "") not in ("", "0")
        for place in places(self.name, self.layout):
            try:
                arrays = place.read(place.path)
                arrays.check()
            except InputError as error:
                if place.explicit:
                    raise
                faults.append(str(error))
                continue
            differing = arrays.differing(self.content)
            if not differing and place.slow:
                # A home that is full or read-only costs the time again, no more.
                with contextlib.suppress(OSError):
                    write_idx_folder(cache_folder() / self.name, arrays)
            if not differing or unverified_allowed:
                return (arrays, not differing), faults
            # A folder given for another set of the same file names is no error: this set may be elsewhere.
            if place.explicit and not self._is_another_set(arrays):
                raise InputError(
                    f"{place.path} is well-formed but not the known {self.title} ({', '.join(differing)} differ). "
                    f"Replace it, or set {UNVERIFIED}=1 to use it as it is."
                )
            faults.append(f"{place.path} is not the known {self.title}.")
        return None, faults

    def _is_another_set(self, arrays: ImageArrays) -> bool:
        others = (datasets.get(name) for name in datasets if name != self.name)
        return any(isinstance(other, ImageSet) and not arrays.differing(other.content) for other in others)

    def _fetch(self, faults: list[str]) -> Path:
        root = data_folder() or cache_folder()
        folder = root / self.name
        names = ", ".join(_archive_name(part) for part in PARTS)
        advice = (
            f"Put {names} (gzip or not) into a folder and name it with --data-dir or BATCHLIMIT_DATA, "
            f"or into {folder}; a copy made by torchvision or Keras is found by itself."
        )
        if faults:
            advice = f"Passed over here: {' '.join(faults)} {advice}"
        files = {_archive_name(part): self.archives[part] for part in PARTS}
        return fetch_files(self.title, files, self.mirrors, folder, advice=advice)

    def _read_fetched(self, folder: Path) -> ImageArrays:
        arrays = read_idx_folder(folder)
        arrays.check()
        return arrays


def _archive_name(part: str) -> str:
    return f"{part}-idx{3 if part.endswith('images') else 1}-ubyte.gz"
