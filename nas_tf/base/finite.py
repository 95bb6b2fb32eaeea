"""Stopping a run whose numbers are no longer numbers, before they are saved."""

import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from nas_tf.base.errors import UserError

_KEPT = "Nothing of it was saved; the last good checkpoint is kept."


def require_finite(values: dict[str, float], step: int, advice: str) -> None:
    """Raises `UserError` if one of the named values is NaN or infinite.

    Args:
      values: figures by the name that the message gives them, such as "training loss".
      step: 0-based number of the step that they come from; the message counts from 1.
      advice: what the user may change, an imperative without a full stop.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                f"The {name} became {value} in step {step + 1}, so the run cannot go on; {advice}. {_KEPT}"
            )


def require_finite_state(trackables: dict[str, Any], advice: str) -> None:
    """Raises `UserError` if a variable that is about to be saved holds NaN or infinity.

    A loss is computed before its step moves the weights, so a finite loss says nothing of them.

    Args:
      trackables: by name, what a checkpoint holds.
      advice: as for `require_finite`.
    """
    named = [(name, variable) for name, trackable in trackables.items() for variable in _floating(trackable)]
    finite = [tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(variable))) for _, variable in named]
    # Read at once: each read waits for the device.
    for (name, variable), is_finite in zip(named, tf.stack(finite).numpy() if finite else (), strict=True):
        if not is_finite:
            raise UserError(
                f"The run's state is no longer finite ({name.replace('_', ' ')}: "
                f"{variable.name.split(':')[0]!r}), so it cannot go on; {advice}. {_KEPT}"
            )


def _floating(trackable: Any) -> Iterator[tf.Variable]:
    if isinstance(trackable, tf.Variable):
        trackable = [trackable]
    elif not isinstance(trackable, (list, tuple)):
        trackable = getattr(trackable, "variables", ())
        # A method in some optimizers, a property elsewhere.
        trackable = trackable() if callable(trackable) else trackable
    # Counters and the like are whole numbers, which are always finite.
    return (v for v in trackable if v.dtype.is_floating)
