"""A trial's model as its workload makes it and its recipe changes it."""

from __future__ import annotations

from torch import nn

from batchlimit.config import Recipe
from batchlimit.models.dropout_rate import set_dropout
from batchlimit.models.ghost_batch_norm import convert_ghost_batch_norm
from batchlimit.models.initialization import initialize
from batchlimit.models.keyed_dropout import convert_dropout
from batchlimit.workloads.workload import Workload


def model_of(workload: Workload, recipe: Recipe) -> nn.Module:
    """Return a fresh model, initialized from torch's generator as it is now.

    With the recipe's initialization, dropout and ghost batch norm, and with dropout whose masks do not depend on the
    size of the micro-batch.

    Raises:
        InputError: the model has no layer that the recipe's initialization or dropout is of, one that cannot be
            initialized, or a batch norm that cannot become a ghost batch norm.
    """
    model = workload.make_model()
    if recipe.initialization is not None:
        initialize(model, recipe.initialization)
    if recipe.dropout is not None:
        set_dropout(model, recipe.dropout)
    model = convert_dropout(model)
    if recipe.ghost_batch_size is not None:
        model = convert_ghost_batch_norm(model, recipe.ghost_batch_size)
    return model
