"""How a user's own module or file is imported: for workloads and for studies alike."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_module(name: str) -> ModuleType:
    """Return a module, looked for in the current folder too; what it raises passes."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def import_file(path: Path) -> ModuleType:
    """Return the module that the file `path`, which exists, is: run once a process; what it raises passes.

    It has a name of its own, so that a file called like an installed module does not replace it. Its folder is
    importable from then on.
    """
    whole = path.resolve()
    name = f"batchlimit_file_{whole.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(whole.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
