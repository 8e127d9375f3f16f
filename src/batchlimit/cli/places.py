"""Where a command puts its ledger and report."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from batchlimit.errors import InputError
from batchlimit.reports.folder import check_writable
from batchlimit.validation import user_path

_LONGEST = 60


@dataclass(frozen=True)
class Places:
    """The folder of the report and the location of the ledger: a path, or a database's URL."""

    out: Path
    ledger: str

    @property
    def shown(self) -> str:
        """The ledger's location as it may be printed: a URL without its password."""
        return re.sub(r"(://[^:@/]*):[^@/]*@", r"\1:***@", self.ledger)


def safe_name(workload: str) -> str:
    """Return `workload` as one component of a path: letters, digits, '.', '_' and '-', at most 60 characters.

    'path/file.py:name' becomes 'file-name'. A name that had to be cut ends in eight digits of its
    hash, so that long names stay apart.
    """
    where, _, attribute = workload.rpartition(":")
    plain = f"{Path(where).stem}-{attribute}" if where.endswith(".py") else workload
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip(".-") or "workload"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(workload.encode()).hexdigest()[:8]}"


def places(workload: str, out: str | None, ledger: str | None) -> Places:
    """Return where a command on `workload` writes: './batchlimit-<workload>' and 'ledger.db' in it, unless given."""
    folder = user_path(out) if out else Path(f"batchlimit-{safe_name(workload)}")
    if ledger is None:
        return Places(folder, str(folder / "ledger.db"))
    return Places(folder, ledger if "://" in ledger else str(user_path(ledger)))


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Prove that `folder` can be written to; bad input found within the block takes it away again where it was made.

    Raises:
        InputError: it cannot be made or written to.
    """
    existed = folder.exists()
    check_writable(folder)
    try:
        yield
    except InputError:
        if not existed:
            with suppress(OSError):
                folder.rmdir()
        raise


def folder_of(workload: str | None, out: str | None, ledger: str | None) -> tuple[str | None, str | None]:
    """Return the workload and the output folder, where a run's folder may have been given as the workload."""
    if workload is None or out is not None or ledger is not None:
        return workload, out
    if Path(places(workload, None, None).ledger).is_file():
        return workload, None
    folder = user_path(workload)
    is_run = folder.name.startswith("batchlimit-") or (folder / "ledger.db").is_file()
    return (None, workload) if is_run else (workload, None)


def existing_ledger(workload: str | None, out: str | None, ledger: str | None) -> Places:
    """Return the places of an earlier run, found in the current folder where neither is given.

    Raises:
        InputError: there is no such run, or more than one.
    """
    if workload is not None or out is not None or ledger is not None:
        found = places(workload or "report", out, ledger)
        if ledger is not None and out is None and workload is None and "://" not in ledger:
            found = Places(Path(found.ledger).parent, found.ledger)
        if "://" not in found.ledger and not Path(found.ledger).is_file():
            raise InputError(f"There is no ledger at '{found.ledger}'. Valid: the --ledger or --out of an earlier run.")
        return found
    here = sorted(Path.cwd().glob("batchlimit-*/ledger.db"))
    if len(here) == 1:
        folder = here[0].parent.relative_to(Path.cwd())
        return Places(folder, str(folder / "ledger.db"))
    if not here:
        raise InputError(
            "There is no batchlimit-*/ledger.db in this folder. Say which with WORKLOAD, --out or --ledger."
        )
    names = ", ".join(path.parent.name for path in here)
    raise InputError(f"There are several runs in this folder ({names}). Say which with WORKLOAD, --out or --ledger.")
