"""LeCun's LeNet-5, in the form that most courses use."""

from __future__ import annotations

from torch import Tensor, nn

from batchlimit.models import models
from batchlimit.models.initialization import glorot_uniform
from batchlimit.models.narrow_convolution import narrow_convolution
from batchlimit.models.pooled_convolution import max_pooled_convolution


class LeNet5(nn.Module):
    """Convolution 5x5 6 (padded to keep 28x28), pool, convolution 5x5 16, pool, dense 120, 84, `classes`.

    Takes (n, 1, 28, 28) in [0, 1] and returns logits (n, classes); 61,706 parameters. ReLU for tanh, max-pooling for
    trainable average pooling, every map of the second convolution sees all six maps, and a dense last layer for the
    radial basis functions: that is where it differs from LeCun et al., 1998, section II. It is not the paper's LeNet.
    """

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        # Pooling before ReLU: both commute, and ReLU has a quarter of the work.
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 16, 5),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, classes),
        )
        self.apply(glorot_uniform)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, 1, 28, 28)."""
        first, _, relu, second, *others = self.features
        maps = max_pooled_convolution(images, first)  # type: ignore[arg-type]
        maps = narrow_convolution(maps, relu, second)  # type: ignore[arg-type]
        for layer in others:
            maps = layer(maps)
        return self.classifier(maps.flatten(1))  # type: ignore[no-any-return]


models.register("lenet5")(LeNet5)
