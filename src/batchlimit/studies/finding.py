"""From what a user types to a study: a registered name, a TOML file, 'module:attribute' or 'path.py:attribute'."""

from __future__ import annotations

from pathlib import Path

from batchlimit.errors import InputError
from batchlimit.importing import import_file, import_module
from batchlimit.studies import studies
from batchlimit.studies.checks import reason_of
from batchlimit.studies.from_toml import NAME, NAME_WORDS, read_study, study_from_toml
from batchlimit.studies.study import Study


def find_study(reference: str) -> tuple[Study, str]:
    """Return the study that `reference` names, and its TOML text ('' where it is not a TOML file).

    Raises:
        InputError: there is no such study, file, module or attribute, or it is no study.
    """
    if reference.endswith(".toml"):
        study, text = read_study(Path(reference))
        return _of_its_own_name(study, reference), text
    if ":" in reference or reference.endswith(".py"):
        return _of_its_own_name(_attribute(reference), reference), ""
    return studies.get(reference), ""


def found_again(reference: str, text: str) -> Study:
    """Return the study of an earlier run: from its TOML text, where it had one.

    Raises:
        InputError: a registered study, a module or a file is no longer there.
    """
    return study_from_toml(text, reference) if text else find_study(reference)[0]


def _of_its_own_name(study: Study, reference: str) -> Study:
    """Return a study whose name is not another's: pages and what a ledger keeps are told apart by it."""
    if not NAME.match(study.name):
        raise InputError(f"The study '{reference}' is called '{study.name}'. Valid names: {NAME_WORDS}.")
    if study.name in studies and studies.get(study.name) is not study:
        raise InputError(
            f"The study '{reference}' is called '{study.name}', as one of batchlimit's is: its page would take that "
            "one's place. Give it another name."
        )
    return study


def _attribute(reference: str) -> Study:
    place, _, name = (f"{reference}:" if reference.endswith(".py") else reference).rpartition(":")
    of_file = place.endswith(".py")
    if of_file and not Path(place).is_file():
        raise InputError(f"There is no file '{place}' to read a study from.")
    try:
        module = import_file(Path(place)) if of_file else import_module(place)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"Cannot import '{place}': {reason_of(error)}.") from None
    found = getattr(module, name, None)
    if not isinstance(found, Study):
        there = [key for key, value in vars(module).items() if isinstance(value, Study)]
        of_those = f"; say which: '{place}:{there[0]}'" if there and not name else ""
        raise InputError(f"'{reference}' is no study. Studies in '{place}': {', '.join(there) or 'none'}{of_those}.")
    return found
