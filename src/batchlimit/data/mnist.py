"""MNIST: 60,000 + 10,000 handwritten digits (LeCun, Bottou, Bengio and Haffner, 1998)."""

from __future__ import annotations

from batchlimit.data import datasets
from batchlimit.data.image_set import ImageSet
from batchlimit.data.places import Layout

MNIST = datasets.register("mnist")(
    ImageSet(
        name="mnist",
        title="MNIST",
        content={
            "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        archives={
            "train-images": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        layout=Layout(torchvision="MNIST", keras="mnist", hugging_face=("ylecun/mnist", "mnist")),
        # 55K/5K/10K is the paper's split for tuning (You et al., 2020, section 3.1).
        validation_size=5000,
    )
)
