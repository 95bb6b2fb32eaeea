"""Learning rates over a run, as plain functions of the step."""

import math


def cosine(step: int, total_steps: int, initial: float, warmup_steps: int = 0) -> float:
    """Cosine decay to zero (Loshchilov and Hutter, 2017), after an optional linear rise.

    Args:
      step: 0-based number of the step about to be taken.
      total_steps: steps of the whole run, warm-up included.
      initial: the rate where the cosine starts.
      warmup_steps: the rate rises linearly from initial / warmup_steps over these.

    Returns:
      The learning rate; 0 from `total_steps` on.
    """
    if step < warmup_steps:
        return initial * (step + 1) / warmup_steps
    # rate = initial / 2 · (1 + cos(π · progress))
    # Where all steps are warm-up, total − warmup is 0, hence `max`; behind the last step the cosine
    # would rise again, hence `min`.
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * initial * (1 + math.cos(math.pi * min(1.0, progress)))


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Batches that hold every example once, the last one filled up from the next epoch."""
    # ⌈examples / batch⌉
    return -(-num_examples // batch_size)
