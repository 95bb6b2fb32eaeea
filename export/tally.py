"""What a model answered, image by image, and the figures that follow from it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nas_tf.distribute.workers import Workers

CONFIDENCE = 0.95
# Quantile of the normal distribution that leaves 2.5 % above it.
_Z = 1.959963984540054
# A matrix of more classes is too large to look at; what is confused most is told of any number.
_MAX_MATRIX = 50
_MOST_CONFUSED = 20
BACKGROUND = -1
_NO_IMAGE = -2


class Tally:
    """Labels, answers and ranks of all images: a few bytes each.

    Args:
      outputs: outputs[d] is the model's output for the dataset's class d.
      num_outputs: of the model.
    """

    def __init__(self, outputs: np.ndarray, num_outputs: int):
        self._outputs = outputs
        # The dataset's class of each output; a background belongs to none.
        self._classes = np.full(num_outputs, BACKGROUND)
        self._classes[outputs] = np.arange(len(outputs))
        self._labels: list[np.ndarray] = []
        self._answers: list[np.ndarray] = []
        self._ranks: list[np.ndarray] = []
        self._hits = 0
        self.examples = 0

    def add(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a batch: scores [N, num_outputs] of any number type, the dataset's labels [N]."""
        from nas_tf.train.accuracy import ranks

        self._labels.append(labels.astype(np.int32))
        self._answers.append(self._classes[scores.argmax(axis=1)].astype(np.int32))
        rank = ranks(scores, self._outputs[labels]).astype(np.int32)
        self._ranks.append(rank)
        # Counted as they come, since progress shows it after every batch.
        self._hits += int(np.sum(rank < 1))
        self.examples += len(labels)

    def share(self, batch_size: int, workers: "Workers") -> None:
        """Takes in what all processes answered, of which each judged every so many-th batch.

        All then hold all images, in the order in which one process alone would hold them.
        """
        if workers.count == 1:
            return
        own = np.stack([_joined(held) for held in (self._labels, self._answers, self._ranks)], axis=1)
        # [processes, batches, images of a batch, 3], as long for all: what is missing comes at the end.
        batches = max(workers.gather(_row([[-(-len(own) // batch_size)]])).numpy().astype(int).ravel())
        padded = np.full((batches * batch_size, 3), _NO_IMAGE, np.float32)  # holds them exactly, below 2²⁴
        padded[: len(own)] = own
        found = workers.gather(_row(padded)).numpy().reshape(workers.count, batches, batch_size, 3)
        rows = found.swapaxes(0, 1).reshape(-1, 3).astype(np.int32)
        rows = rows[rows[:, 0] != _NO_IMAGE]
        self._labels, self._answers, self._ranks = ([column] for column in rows.T)
        self.examples, self._hits = len(rows), int(np.sum(rows[:, 2] < 1))

    @property
    def labels(self) -> np.ndarray:
        """The dataset's classes [N]."""
        return _joined(self._labels)

    @property
    def answers(self) -> np.ndarray:
        """The dataset's class that the model gave each image [N]; `BACKGROUND` for its background."""
        return _joined(self._answers)

    @property
    def right(self) -> np.ndarray:
        """Whether the label has the largest score, bool [N]."""
        return _joined(self._ranks) < 1

    @property
    def top1(self) -> float:
        """Share of images that are `right`; nan before any."""
        return self._hits / self.examples if self.examples else float("nan")

    def _share(self, places: int) -> float:
        return float(np.mean(_joined(self._ranks) < places)) if self.examples else float("nan")

    def facts(self, names: Sequence[str]) -> dict[str, Any]:
        """Figures for a summary; `names`: of the dataset's classes.

        Returns:
          `top1`, `top5`, their `…_interval`s and the `confidence` of these; `num_examples`,
          `background_predictions`, `per_class`, `most_confused`, and `confusion` where it is small.
        """
        ranks = _joined(self._ranks)
        shares: dict[str, Any] = {}
        for places in (1, 5):
            shares[f"top{places}"] = self._share(places)
            shares[f"top{places}_interval"] = list(wilson(int(np.sum(ranks < places)), self.examples))
        return {
            **shares,
            "confidence": CONFIDENCE,
            "num_examples": self.examples,
            "background_predictions": int(np.sum(self.answers == BACKGROUND)),
            "per_class": self._per_class(names),
            "most_confused": self._most_confused(names),
            "confusion": self._confusion(names),
        }

    def _per_class(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Of each class that has images: `label`, `examples`, `top1`, `top1_interval`."""
        labels = self.labels
        counts = np.bincount(labels, minlength=len(names))
        hits = np.bincount(labels[self.right], minlength=len(names))
        return [
            {
                "label": name,
                "examples": int(count),
                "top1": float(hit / count),
                "top1_interval": list(wilson(int(hit), int(count))),
            }
            for name, count, hit in zip(names, counts, hits, strict=True)
            if count
        ]

    def _most_confused(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The commonest pairs of a class and the wrong one that was given: `label`, `answer`, `images`."""
        labels, answers = self.labels, self.answers
        wrong = labels != answers
        pairs, counts = np.unique(np.stack([labels[wrong], answers[wrong]]), axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_MOST_CONFUSED]
        return [
            {
                "label": names[pairs[0, i]],
                "answer": "background" if pairs[1, i] == BACKGROUND else names[pairs[1, i]],
                "images": int(counts[i]),
            }
            for i in order
        ]

    def _confusion(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Images by class (rows) and answer (columns; the background last, if it was given any)."""
        if len(names) > _MAX_MATRIX:
            return None
        matrix = np.zeros((len(names), len(names) + 1), np.int64)
        np.add.at(matrix, (self.labels, self.answers), 1)  # the background's −1 is the last column
        if not matrix[:, BACKGROUND].any():
            return {"labels": list(names), "answers": list(names), "images": matrix[:, :-1].tolist()}
        return {"labels": list(names), "answers": [*names, "background"], "images": matrix.tolist()}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `hits` among `count`; (0, 1) of none.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), Wilson 1927.
    """
    if not count:
        return 0.0, 1.0
    share, part = hits / count, _Z**2 / count
    half = _Z * math.sqrt(share * (1 - share) / count + part / (4 * count))
    low, high = ((share + part / 2 + sign * half) / (1 + part) for sign in (-1, 1))
    # Rounding may leave a share of 0 or 1 outside of its own interval.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def top1_interval(result: dict[str, Any]) -> tuple[float, float]:
    """Of an evaluation's summary, from its counts, which summaries of earlier versions hold too."""
    return wilson(round(result["top1"] * result["num_examples"]), result["num_examples"])


def paired_difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """How two models compare that answered the same images.

    Args:
      first, second: bool [N], where each was right.

    Returns:
      `difference`, of the shares, first − second; `difference_interval`, of 95 % (Agresti and Min 2005:
      Wald's for pairs with 1/2 added to each of the four counts); `only_first_right`,
      `only_second_right`; `p_value`, of McNemar's exact two-sided test.
    """
    from quant.comparison import mcnemar_p_value

    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(~first & second))
    b, c, n = only_first + 0.5, only_second + 0.5, len(first) + 2
    middle, half = (b - c) / n, _Z * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return {
        "difference": (only_first - only_second) / len(first),
        "difference_interval": [middle - half, middle + half],
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p_value": mcnemar_p_value(first, second),
    }


def _row(values: Any) -> Any:
    """What `Workers.gather` takes."""
    import tensorflow as tf

    return tf.constant(values, tf.float32)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
