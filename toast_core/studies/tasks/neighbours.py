"""Classes from the nearest of known images: how well features tell classes apart without a classifier. Imports no torch."""

import numpy as np

NEIGHBOURS = 20
_CHUNK = 512  # queries whose similarities are held at once


def nearest_classes(queries: np.ndarray, bank: np.ndarray, labels: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """The class of most of each query's nearest bank images by cosine similarity, every neighbour one vote.

    Equally similar images are taken in the bank's order, and of equally many votes the lowest class number wins.

    Args:
        queries, bank: features (n, width); a row of zeros is similar to nothing (0).
        labels: (bank,) class numbers of at least 0.
        neighbours: how many vote; all of the bank where it has fewer.

    Returns:
        class numbers (queries,) int64.
    """
    count, classes = min(neighbours, len(bank)), int(labels.max()) + 1
    known, found = unit_rows(bank).T, []
    for start in range(0, len(queries), _CHUNK):
        similar = unit_rows(queries[start : start + _CHUNK]) @ known
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :count]
        votes = np.zeros((len(similar), classes), np.int64)
        np.add.at(votes, (np.arange(len(similar))[:, None], labels[nearest]), 1)
        found.append(votes.argmax(1))
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Rows at length 1, in float64; zeros stay zeros."""
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1.0)
