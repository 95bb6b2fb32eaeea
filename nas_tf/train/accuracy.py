"""Top-1 and top-5 accuracy of logits, the way a phone decides."""

from collections.abc import Iterable
from typing import Any

import numpy as np


class AccuracyCounter:
    """Counts over batches.

    Attributes:
      examples: how many have been counted.
      num_classes: of the logits; 0 before any.
    """

    def __init__(self) -> None:
        self.examples = self.num_classes = self._top1 = self._top5 = 0
        self._of_class = np.zeros(0, np.int64)

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Counts a batch: logits [N, C] of any number type, labels [N]."""
        rank = ranks(logits, labels)
        self.examples += len(labels)
        self._top1 += int(np.sum(rank < 1))
        self._top5 += int(np.sum(rank < 5))
        self.num_classes = logits.shape[1]
        counts = np.bincount(labels, minlength=self.num_classes)
        self._of_class = counts + self._of_class if self._of_class.size else counts

    def add_all(self, scored: Iterable[tuple[Any, Any]]) -> None:
        """Counts batches of tensors (logits, labels).

        Each is read when the next one is under way, so that a device always has something to do.
        """
        before = None
        for batch in scored:
            self._add_read(before)
            before = batch
        self._add_read(before)

    def _add_read(self, batch: tuple[Any, Any] | None) -> None:
        if batch is not None:
            logits, labels = (np.asarray(part.numpy() if hasattr(part, "numpy") else part) for part in batch)
            # What mixed precision computes is no number type of numpy's own.
            self.add(logits.astype(np.float32), labels)

    def counts(self, num_classes: int) -> np.ndarray:
        """All of it as float32 [3 + classes], exact up to 2²⁴ images."""
        of_class = self._of_class if self._of_class.size else np.zeros(num_classes, np.int64)
        return np.array([self.examples, self._top1, self._top5, *of_class], np.float32)

    def take_counts(self, counts: np.ndarray) -> None:
        """The opposite of `counts`, such as of their sum over processes."""
        self.examples, self._top1, self._top5, *of_class = map(int, counts)
        self.num_classes, self._of_class = len(of_class), np.array(of_class, np.int64)

    @property
    def right(self) -> int:
        """Images whose label has the largest logit."""
        return self._top1

    @property
    def largest_share(self) -> float:
        """Of all images, those of the most frequent class; nan before any."""
        return int(self._of_class.max()) / self.examples if self.examples else float("nan")

    @property
    def top1(self) -> float:
        """Share of images whose label has the largest logit; nan before any."""
        return self._top1 / self.examples if self.examples else float("nan")

    @property
    def top5(self) -> float:
        """Share of images whose label is among the five largest logits; nan before any."""
        return self._top5 / self.examples if self.examples else float("nan")


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Place of each label among its image's logits, 0 for the largest: int [N].

    Of equal logits the one of smaller index comes first, as in argmax. Quantized networks
    have many equal logits, so this matters. A logit that is not a number ranks last.
    """
    # Compared and never subtracted: the uint8 logits of a file would wrap around.
    own = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)
    before = (logits == own) & (np.arange(logits.shape[1]) < labels[:, np.newaxis])
    rank = np.sum(logits > own, axis=1) + np.sum(before, axis=1)
    return np.where(np.isnan(own[:, 0].astype(np.float64)), logits.shape[1], rank)
