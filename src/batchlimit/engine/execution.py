"""Where and how a trial is computed: nothing here changes its result beyond rounding, so none of it is in its hash."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field, field_validator

from batchlimit.config import Frozen
from batchlimit.errors import InputError
from batchlimit.validation import user_path


class Execution(Frozen):
    """The machine's side of a trial: device, examples a pass (None: measured), CPU threads (None: torch's).

    `checkpoints` is the folder in which trials under way are kept, at most every `checkpoint_seconds`; None: nowhere.
    """

    device: str = "auto"
    microbatch_size: int | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    checkpoints: Path | None = None
    checkpoint_seconds: float = Field(default=60.0, ge=0)

    @field_validator("checkpoints")
    @classmethod
    def _home(cls, folder: Path | None) -> Path | None:
        return user_path(folder) if folder is not None else None

    def torch_device(self) -> torch.device:
        """Return the device, choosing CUDA where 'auto' finds it.

        Raises:
            InputError: there is no such device here.
        """
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if self.device not in [*valid, "cuda"] or (self.device == "cuda" and not torch.cuda.is_available()):
            raise InputError(f"There is no device '{self.device}' here. Valid: {', '.join(valid)}.")
        return torch.device(self.device)
