"""A trial's model as its workload makes it and its recipe changes it."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchlimit.config import Recipe
from batchlimit.engine.evaluated_weights import can_move
from batchlimit.errors import InputError
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
        InputError: the model has no layer that the recipe's initialization, dropout, ghost batch norm or batch-norm
            statistics are of, one that cannot be initialized, or a batch norm that cannot become a ghost batch norm.
    """
    model = workload.make_model()
    _check_batch_norm(recipe, model)
    if recipe.initialization is not None:
        initialize(model, recipe.initialization)
    if recipe.dropout is not None:
        set_dropout(model, recipe.dropout)
    model = convert_dropout(model)
    if recipe.ghost_batch_size is not None:
        model = convert_ghost_batch_norm(model, recipe.ghost_batch_size)
    return model


def _check_batch_norm(recipe: Recipe, model: nn.Module) -> None:
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if recipe.ghost_batch_size is not None and not norms:
        raise InputError(
            f"recipe.ghost_batch_size is {recipe.ghost_batch_size}, and the model {type(model).__name__} has no batch "
            "norm. Valid: no recipe.ghost_batch_size, or a model with batch norm."
        )
    if recipe.batch_norm_statistics == "estimated" and not any(map(can_move, norms)):
        raise InputError(
            f"recipe.batch_norm_statistics is 'estimated', and the model {type(model).__name__} has no batch norm with "
            "running statistics. Valid: 'running', or a model with such batch norm."
        )
