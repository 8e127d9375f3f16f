"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes (Xiao, Rasul and Vollgraf, 2017)."""

from __future__ import annotations

from batchlimit.data import datasets
from batchlimit.data.image_set import ImageSet
from batchlimit.data.places import Layout

FASHION_MNIST = datasets.register("fashion_mnist")(
    ImageSet(
        name="fashion_mnist",
        title="Fashion-MNIST",
        content={
            "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        archives={
            "train-images": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "train-labels": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "t10k-images": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "t10k-labels": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        },
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ),
        layout=Layout(
            torchvision="FashionMNIST",
            keras="fashion-mnist",
            hugging_face=("zalando-datasets/fashion_mnist", "fashion_mnist"),
            debian="/usr/share/datasets/fashion-mnist",
        ),
        validation_size=5000,
    )
)
