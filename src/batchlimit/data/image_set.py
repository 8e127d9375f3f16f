"""A known MNIST-like data set: found where users have it, else fetched, always verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchlimit.data import datasets
from batchlimit.data.fetching import fetch_files
from batchlimit.data.idx import Bytes
from batchlimit.data.image_arrays import PARTS, ImageArrays, differing_parts
from batchlimit.data.places import (
    Layout,
    MissingPartsError,
    Place,
    archive_name,
    cache_folder,
    data_folder,
    idx_file,
    places,
    read_archives,
    write_idx_folder,
)
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
            except MissingPartsError as error:
                self._refuse_unknown_parts(place, error)
                faults.append(str(error))
                continue
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
            if place.explicit and not self._is_another_set(arrays.by_part()):
                raise InputError(
                    f"{place.path} is well-formed but not the known {self.title} ({', '.join(differing)} differ). "
                    f"Replace it, or set {UNVERIFIED}=1 to use it as it is."
                )
            faults.append(f"{place.path} is not the known {self.title}.")
        return None, faults

    def _refuse_unknown_parts(self, place: Place, error: MissingPartsError) -> None:
        """Raise an error where the user's folder lacks parts and those it has are of no known set.

        Where they are the known ones, the missing ones can be fetched: an interrupted fetch goes on.
        """
        differing = differing_parts(error.present, self.content)
        if place.explicit and differing and not self._is_another_set(error.present):
            raise InputError(
                f"{error} What it has is not the known {self.title} either ({', '.join(differing)} differ): "
                "replace it, or delete it to have it fetched."
            ) from error

    def _is_another_set(self, parts: Mapping[str, Bytes]) -> bool:
        others = (datasets.get(name) for name in datasets if name != self.name)
        return any(isinstance(other, ImageSet) and not differing_parts(parts, other.content) for other in others)

    def _fetch(self, faults: list[str]) -> Path:
        root = data_folder() or cache_folder()
        folder = root / self.name
        names = ", ".join(archive_name(part) for part in PARTS)
        advice = (
            f"Put {names} (gzip or not) into a folder and name it with --data-dir or BATCHLIMIT_DATA, "
            f"or into {folder}; a copy made by torchvision or Keras is found by itself."
        )
        if faults:
            advice = f"Passed over here: {' '.join(faults)} {advice}"
        files = {archive_name(part): self.archives[part] for part in PARTS}
        return fetch_files(self.title, files, self.mirrors, folder, advice=advice)

    def _read_fetched(self, folder: Path) -> ImageArrays:
        """Return the arrays of the archives that were verified, never of files that happen to lie beside them."""
        arrays = read_archives(folder)
        arrays.check()
        differing = arrays.differing(self.content)
        if differing:
            raise InputError(
                f"The archives fetched into {folder} are not the known {self.title} ({', '.join(differing)} differ). "
                "Delete them and fetch them again."
            )
        if folder == cache_folder() / self.name and any(_is_hidden(folder, part) for part in PARTS):
            # In our own cache, a damaged file beside the archives would be passed over at every load: put it right.
            with contextlib.suppress(OSError):
                write_idx_folder(folder, arrays)
        return arrays


def _is_hidden(folder: Path, part: str) -> bool:
    """Return whether an uncompressed file of `part` is read before its archive."""
    return idx_file(folder, part) != folder / archive_name(part)
