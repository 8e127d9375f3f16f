"""Named variants of LARS and LAMB: the paper author's, MLPerf's, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchlimit.errors import unknown_name

LARS_PRESETS: dict[str, dict[str, Any]] = {
    # You, Gitman and Ginsburg, 2017, algorithm 1, with biases and norms left at a ratio of 1.
    "default": {
        "momentum": 0.9,
        "nesterov": False,
        "coefficient": 0.001,
        "lr_in_buffer": True,
        "decay": "both",
        "exclude": "1d",
        "decay_exclude": "nothing",
    },
    # The paper author's code: nothing skipped, decay in the denominator only, LR and ratio outside the buffer.
    "paper-author": {
        "momentum": 0.9,
        "nesterov": False,
        "coefficient": 0.001,
        "lr_in_buffer": False,
        "decay": "ratio",
        "exclude": "nothing",
        "decay_exclude": "nothing",
    },
    # The MLPerf ResNet-50 reference (mlcommons/training, image_classification/tensorflow2/lars_optimizer.py):
    # coefficient 0.001, LR inside the buffer, no Nesterov, norms and biases with neither ratio nor decay; its 1e-7
    # beside ||g|| is left out. Momentum 0.9 at 32 K; submissions change it (0.951807 at 64 K in v0.7).
    "mlperf": {
        "momentum": 0.9,
        "nesterov": False,
        "coefficient": 0.001,
        "lr_in_buffer": True,
        "decay": "both",
        "exclude": "1d",
        "decay_exclude": "1d",
    },
}

LAMB_PRESETS: dict[str, dict[str, Any]] = {
    # You et al., ICLR 2020, algorithm 2, with the identity for phi and biases and norms left at a ratio of 1.
    "default": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-6,
        "bias_correction": True,
        "exclude": "1d",
        "decay_exclude": "nothing",
        "clip_norm": None,
        "clip": "above",
    },
    # The paper author's code: no bias correction; biases have neither ratio nor decay.
    "paper-author": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-6,
        "bias_correction": False,
        "exclude": "1d",
        "decay_exclude": "1d",
        "clip_norm": None,
        "clip": "above",
    },
    # The MLPerf BERT reference (mlcommons/training, language_model/tensorflow/bert/optimization.py): betas, eps, the
    # moments bias-corrected, norms and biases with neither decay (0.01 elsewhere) nor ratio, gradients clipped to a
    # global norm of 1. Submissions change betas, eps and decay (v1.1: betas of 0.80 and 0.82, eps 1e-9, at 16 K).
    "mlperf": {
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-6,
        "bias_correction": True,
        "exclude": "1d",
        "decay_exclude": "1d",
        "clip_norm": 1.0,
        "clip": "above",
    },
}


def resolve_preset(presets: Mapping[str, Mapping[str, Any]], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of preset `name`, overridden by those of `given` that are not None.

    Raises:
        InputError: no such preset.
    """
    if name not in presets:
        raise unknown_name("preset", str(name), presets)
    return {**presets[name], **{key: value for key, value in given.items() if value is not None}}
