"""The paper's LeNet: TensorFlow's official MNIST network, as its author ran it."""

from __future__ import annotations

from torch import Tensor, nn

from batchlimit.models import models
from batchlimit.models.initialization import glorot_uniform
from batchlimit.models.keyed_dropout import KeyedDropout


class LeNet(nn.Module):
    """Two 5x5 convolutions (32, 64), each with ReLU and max-pooling by 2, dense 1024, dropout, dense `classes`.

    Takes (n, 1, 28, 28) in [0, 1] and returns logits (n, classes); 3,274,634 parameters in 8 tensors, no batch norm.
    Weights start Glorot-uniform and biases at 0, as in TensorFlow. Source: You et al., 2020, Table 2.
    """

    def __init__(self, *, dropout: float = 0.4, classes: int = 10) -> None:
        super().__init__()
        # Pooling before ReLU: both commute, so outputs and gradients are the same and ReLU has a quarter of the work.
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(
            nn.Linear(64 * 7 * 7, 1024), nn.ReLU(inplace=True), KeyedDropout(dropout), nn.Linear(1024, classes)
        )
        self.apply(glorot_uniform)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, 1, 28, 28)."""
        return self.classifier(self.features(images).flatten(1))  # type: ignore[no-any-return]


models.register("lenet")(LeNet)
