"""A whole training in plain float64 numpy: one long list of examples, cut every B, and gradients written out by hand.

No micro-batches, no optimizer object, no autograd: tanh(x W1' + b1) W2' + b2 and softmax cross entropy, momentum with
weight decay added to the gradient, clipping by global norm, label smoothing, linear warmup and polynomial decay.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch


def order_of_epoch(seed, epoch, count):
    """The permutation of one epoch, from the seed and the word 'order' alone."""
    word = np.random.SeedSequence([seed, zlib.crc32(b"order"), epoch]).generate_state(1, np.uint64)[0]
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(word) >> 1)).numpy()


def forward(weights, inputs):
    hidden = np.tanh(inputs @ weights["W1"].T + weights["b1"])
    return hidden, hidden @ weights["W2"].T + weights["b2"]


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def mean_loss(weights, inputs, labels, smoothing=0.0):
    logs = log_softmax(forward(weights, inputs)[1])
    return float(-(smoothed(labels, logs.shape[1], smoothing) * logs).sum(axis=1).mean())


def accuracy(weights, inputs, labels):
    return float((forward(weights, inputs)[1].argmax(axis=1) == labels).mean())


def smoothed(labels, classes, smoothing):
    return (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes


def gradient(weights, inputs, labels, smoothing):
    hidden, logits = forward(weights, inputs)
    above = (np.exp(log_softmax(logits)) - smoothed(labels, logits.shape[1], smoothing)) / len(inputs)
    below = (above @ weights["W2"]) * (1 - hidden**2)
    return {"W1": below.T @ inputs, "b1": below.sum(axis=0), "W2": above.T @ hidden, "b2": above.sum(axis=0)}


def learning_rate(step, total, peak, warmup, power):
    if step < warmup:
        return peak * min(1.0, (step + 1) / warmup)
    return peak * (1 - (step - warmup) / (total - warmup)) ** power


def train(
    weights,
    inputs,
    labels,
    *,
    batch_size,
    epochs,
    seed,
    lr,
    momentum=0.0,
    weight_decay=0.0,
    smoothing=0.0,
    clip_norm=math.inf,
    warmup_epochs=0.0,
    power=1.0,
):
    """Return the weights after training, and of every step its loss, gradient norm and learning rate."""
    weights = {name: np.array(value, dtype=np.float64) for name, value in weights.items()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    count = len(inputs)
    total = -(-int(epochs * count) // batch_size) if float(epochs * count).is_integer() else None
    assert total is not None, "choose epochs that are a whole number of examples"
    line = np.concatenate([order_of_epoch(seed, e, count) for e in range(math.ceil(total * batch_size / count))])
    steps = []
    for step in range(total):
        batch = line[step * batch_size : (step + 1) * batch_size]
        loss = mean_loss(weights, inputs[batch], labels[batch], smoothing)
        slopes = gradient(weights, inputs[batch], labels[batch], smoothing)
        norm = math.sqrt(sum((slope**2).sum() for slope in slopes.values()))
        rate = learning_rate(step, total, lr, warmup_epochs * count / batch_size, power)
        for name in weights:
            slope = slopes[name] * min(1.0, clip_norm / norm) + weight_decay * weights[name]
            velocity[name] = momentum * velocity[name] + slope
            weights[name] = weights[name] - rate * velocity[name]
        steps.append({"loss": loss, "norm": norm, "lr": rate})
    return weights, steps
