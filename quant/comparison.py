"""How close quantized logits are to float ones: the figures that every report here quotes."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Quantized against float logits on the same images.

    Attributes:
      top1, reference_top1: share of right answers.
      agreement: share of images on which both say the same class.
      snr_db: 10 · log10(Σ reference² / Σ (reference − logits)²).
    """

    top1: float
    reference_top1: float
    agreement: float
    snr_db: float


def compare(reference: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Comparison:
    """Compares logits [N, classes] with reference logits; labels [N]."""
    answers, expected = logits.argmax(axis=-1), reference.argmax(axis=-1)
    return Comparison(
        float(np.mean(answers == labels)),
        float(np.mean(expected == labels)),
        float(np.mean(answers == expected)),
        snr_db(reference, logits),
    )


def snr_db(reference: np.ndarray, values: np.ndarray) -> float:
    """Signal-to-noise ratio in decibels; infinite where nothing differs."""
    reference = np.asarray(reference, np.float64)
    noise = np.sum((reference - values) ** 2)
    return float(10 * np.log10(np.sum(reference**2) / noise)) if noise > 0 else float("inf")


def mcnemar_p_value(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Exact two-sided McNemar test.

    The chance of so uneven a split of the images on which only one of two classifiers is right, were
    they equally good.

    Args:
      first_right, second_right: bool [N], on the same images.
    """
    # Here, since most of what compares logits asks for no test and need not wait for SciPy.
    from scipy.stats import binomtest

    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(~first_right & second_right))
    if only_first + only_second == 0:
        return 1.0
    # Were both equally good, each such image would fall to either with probability 1/2.
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def bootstrap_interval(
    first_right: np.ndarray, second_right: np.ndarray, seed: int = 0, draws: int = 10000
) -> tuple[float, float]:
    """95 % interval of mean(first) − mean(second) over images drawn with replacement, paired."""
    difference = first_right.astype(np.float64) - second_right
    rows = np.random.default_rng(seed).integers(len(difference), size=(draws, len(difference)))
    low, high = np.percentile(difference[rows].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
