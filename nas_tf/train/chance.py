"""Telling a network that has learned nothing, by what guessing would have reached."""

import math

from nas_tf.base.errors import UserError
from nas_tf.train.accuracy import AccuracyCounter

# A network that guesses is taken for one that has learned once in a thousand times.
_SIGNIFICANCE = 1e-3
# Knowing nothing costs ln k; twice as much gives the right one of k classes 1 / k² on average.
_DIVERGED = 2.0


def is_chance(accuracy: AccuracyCounter) -> bool:
    """Whether as many right answers are to be expected of guessing.

    The best guess is the most frequent class, which is right on its share q of the images. With
    n images, P(Binomial(n, q) ≥ right answers) is above 1/1000.
    """
    # Here, since SciPy takes as long to load as some commands take.
    from scipy.stats import binom

    right, number = accuracy.right, accuracy.examples
    return bool(binom.sf(right - 1, number, accuracy.largest_share) > _SIGNIFICANCE)


def warning(what: str, accuracy: AccuracyCounter, advice: str) -> dict[str, str]:
    """An entry `warning` for the summary of a stage that ends at chance, else nothing.

    Args:
      what: names the accuracy, such as "held-out top-1".
      advice: what the user may change, an imperative without a full stop.
    """
    if not is_chance(accuracy):
        return {}
    return {"warning": f"{_at_chance(what, accuracy)}, so nothing was learned; {advice}"}


def require_no_divergence(what: str, accuracy: AccuracyCounter, loss: float, advice: str) -> None:
    """Raises `UserError` if the network guesses at a loss that is far above a guess's.

    Args:
      what, advice: as for `warning`.
      loss: mean cross-entropy of training, in nats.
    """
    limit = _DIVERGED * math.log(max(accuracy.num_classes, 2))
    if loss > limit and is_chance(accuracy):
        raise UserError(
            f"Training has diverged: its loss is {loss:.4g}, above {limit:.3g} (twice that of knowing "
            f"nothing), and the {_at_chance(what, accuracy)}; {advice}. Nothing of this epoch was saved; "
            "the checkpoints before it are kept."
        )


def _at_chance(what: str, accuracy: AccuracyCounter) -> str:
    return (
        f"{what} of {accuracy.top1:.1%} on {accuracy.examples} images is not above what guessing reaches "
        f"({accuracy.largest_share:.1%} are of one class)"
    )
