"""Scores of a model on a split: mean unsmoothed loss and metric."""

from __future__ import annotations

import torch
from torch import nn

from batchlimit.data.splits import Split, index_device
from batchlimit.engine.layout import Layout
from batchlimit.engine.step import out_of_memory
from batchlimit.errors import InputError
from batchlimit.records import Scores
from batchlimit.workloads.workload import Workload


def evaluate(
    model: nn.Module, workload: Workload, split: Split, layout: Layout, *, chunk: int, device: torch.device
) -> Scores:
    """Return the mean unsmoothed loss and the metrics over all examples of `split`, `chunk` examples a pass.

    Evaluation is in fp32 whatever the recipe's precision, with the model in eval mode; its mode is put back after.
    When memory runs out, it begins again with half as many examples a pass.

    Raises:
        InputError: memory runs out at one example.
    """
    training = model.training
    model.eval()
    try:
        while True:
            try:
                return _evaluate(model, workload, split, layout, chunk=chunk, device=device)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Past the handler, so that the failed pass's tensors are no longer held by its traceback.
            chunk = min(chunk, len(split)) // 2
            if chunk == 0:
                raise InputError(f"Memory ran out on {device} evaluating one example of '{workload.name}'.")
    finally:
        model.train(training)


@torch.inference_mode()
def _evaluate(
    model: nn.Module, workload: Workload, split: Split, layout: Layout, *, chunk: int, device: torch.device
) -> Scores:
    loss = torch.zeros((), dtype=torch.float64, device=device)
    counted = [metric for metric in (workload.metric, *workload.also) if metric.total is not None]
    totals = torch.zeros(len(counted), dtype=torch.float64, device=device)
    indexed_on = index_device(split, device)
    for start in range(0, len(split), chunk):
        indices = torch.arange(start, min(start + chunk, len(split)), device=indexed_on)
        inputs, targets = split.gather(indices)
        outputs = model(layout(inputs))
        loss += workload.loss(outputs, targets, label_smoothing=0.0)
        for place, metric in enumerate(counted):
            assert metric.total is not None
            totals[place] += metric.total(outputs, targets)
    means = {metric.name: total / len(split) for metric, total in zip(counted, totals.tolist(), strict=True)}
    mean_loss = loss.item() / len(split)
    return Scores(loss=mean_loss, metric=means.pop(workload.metric.name, mean_loss), others=means)
