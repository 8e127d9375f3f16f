"""The engine: runs a trial exactly, in memory that does not grow with the batch, and returns its record."""

from batchlimit.engine.execution import Execution
from batchlimit.engine.trial import run

__all__ = ["Execution", "run"]
