"""The paper's schedules by figure, as recipes write them."""

from __future__ import annotations

from batchlimit.config import Scalar

PAPER_FIGURES: dict[int, tuple[str, bool, str, dict[str, Scalar]]] = {
    23: ("regular cosine", False, "cosine-cycles", {"grain": "regular"}),
    24: ("warmup and polynomial decay", True, "polynomial", {"power": 2.0}),
    25: ("warmup and fine-grained cosine", True, "cosine-cycles", {"grain": "fine"}),
    26: ("warmup and regular cosine", True, "cosine-cycles", {"grain": "regular"}),
    27: ("warmup and coarse-grained cosine", True, "cosine-cycles", {"grain": "coarse"}),
    28: ("warmup and cosine decay", True, "cosine", {}),
    29: ("cosine warmup and cosine decay", True, "cosine", {"warmup_shape": "cosine"}),
    32: ("cyclical, short cycles", True, "cyclical", {"length": 0.1}),
    33: ("cyclical, longer cycles", True, "cyclical", {"length": 0.4}),
}
"""Figure number -> (title, whether there is a warmup, schedule name, schedule options).

Source: You et al., 2020, Figures 23-29, 32 and 33. The paper draws shapes and gives neither powers nor lengths, so the
numbers in the options are ours.
"""
