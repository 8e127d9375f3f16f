"""A small convolutional network for 8 x 8 digits, made for trials of about a second on one core."""

from __future__ import annotations

from torch import Tensor, nn

from batchlimit.models import models
from batchlimit.models.initialization import glorot_uniform


class DigitsCNN(nn.Module):
    """Two 3x3 convolutions (16, 32), each with max-pooling by 2 and ReLU, and one dense layer.

    Takes (n, 1, 8, 8) in [0, 1] and returns logits (n, classes); 6,090 parameters, or 6,138 with `norm=True`: batch
    norm after each convolution, which then has no bias.
    """

    def __init__(self, *, norm: bool = False, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(1, 16, norm), *_block(16, 32, norm))
        self.classifier = nn.Linear(32 * 2 * 2, classes)
        self.apply(glorot_uniform)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, 1, 8, 8)."""
        return self.classifier(self.features(images).flatten(1))  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.MaxPool2d(2), nn.ReLU(inplace=True)]


models.register("digits_cnn")(DigitsCNN)
