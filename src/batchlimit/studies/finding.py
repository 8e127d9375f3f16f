"""From what a user types to a study: a registered name, a TOML file, 'module:attribute' or 'path.py:attribute'."""

from __future__ import annotations

from pathlib import Path

from batchlimit.errors import InputError
from batchlimit.importing import import_file, import_module
from batchlimit.studies import studies
from batchlimit.studies.from_toml import read_study, study_from_toml
from batchlimit.studies.study import Study


def find_study(reference: str) -> tuple[Study, str]:
    """Return the study that `reference` names, and its TOML text ('' where it is not a TOML file).

    Raises:
        InputError: there is no such study, file, module or attribute, or it is no study.
    """
    if reference.endswith(".toml"):
        return read_study(Path(reference))
    if ":" in reference:
        return _attribute(reference), ""
    return studies.get(reference), ""


def found_again(reference: str, text: str) -> Study:
    """Return the study of an earlier run: from its TOML text, where it had one.

    Raises:
        InputError: a registered study, a module or a file is no longer there.
    """
    return study_from_toml(text, reference) if text else find_study(reference)[0]


def _attribute(reference: str) -> Study:
    place, _, name = reference.rpartition(":")
    of_file = place.endswith(".py")
    if of_file and not Path(place).is_file():
        raise InputError(f"There is no file '{place}' to read a study from.")
    try:
        module = import_file(Path(place)) if of_file else import_module(place)
    except InputError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"Cannot import '{place}' ({what}).") from None
    found = getattr(module, name, None)
    if not isinstance(found, Study):
        there = [key for key, value in vars(module).items() if isinstance(value, Study)]
        raise InputError(f"'{reference}' is no study. Studies in '{place}': {', '.join(there) or 'none'}.")
    return found
