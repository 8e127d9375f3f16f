"""batchlimit: how large can the batch be?"""

__version__ = "0.1.0"
