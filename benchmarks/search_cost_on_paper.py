"""What a search of the paper's size costs: computed from counts and stated inputs, not measured.

    python -m benchmarks.search_cost_on_paper --teraflops=15.7 --utilisation=0.2

Counted: multiply-adds of the full space's networks, a mean over candidates drawn evenly, as they are before
alpha moves. A weight step computes the sampled path forward, and backward for inputs and weights: three times
its multiply-adds. An architecture step computes it forward, and backward for inputs: twice; and forward one
further candidate of each block (*two*) or all others (*full*). A multiply-add is two operations.
"""

from typing import Any

import numpy as np
from absl import flags

from nas_tf.base import cli
from nas_tf.space.search_space import FULL

_TERAFLOPS = flags.DEFINE_float(
    "teraflops", 15.7, "Peak of a device, 10^12 operations a second.", lower_bound=0.001
)
_UTILISATION = flags.DEFINE_float(
    "utilisation", 0.2, "Share of the peak that is reached: assumed.", lower_bound=0.001
)
_CORE = flags.DEFINE_float(
    "images_a_core", 310.0, "Training images a second and core, decoded.", lower_bound=0.1
)
_TRAINED = flags.DEFINE_integer("images", 1_281_167, "Of the training split.", lower_bound=1)
_HELD_OUT = flags.DEFINE_integer("held_out", 5000, "Of them for alpha.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 256, "Images of a step.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warmup_epochs", 40, "With alpha at rest.", lower_bound=0)
_JOINT = flags.DEFINE_integer("epochs", 120, "With architecture steps.", lower_bound=0)
_EVERY = flags.DEFINE_integer("alpha_every", 5, "Weight steps before an architecture step.", lower_bound=1)
_RESOLUTION, _CLASSES = 224, 1000


def main() -> None:
    """Prints steps, operations and hours."""
    sampled, others = _macs()
    epoch = (_TRAINED.value - _HELD_OUT.value) // _BATCH.value
    weight_steps, alpha_steps = epoch * (_WARM_UP.value + _JOINT.value), epoch * _JOINT.value // _EVERY.value
    facts: dict[str, Any] = {
        "multiply-adds of a sampled network": f"{sampled / 1e6:.0f} M an image",
        "weight steps": f"{weight_steps:,}, each {3 * sampled * _BATCH.value / 1e9:.0f} G multiply-adds",
    }
    for mode, extra in others.items():
        step = (2 * sampled + extra) * _BATCH.value
        total = 3 * sampled * _BATCH.value * weight_steps + step * alpha_steps
        hours = 2 * total / (_TERAFLOPS.value * 1e12 * _UTILISATION.value) / 3600
        rate = (weight_steps + alpha_steps) * _BATCH.value / hours / 3600
        facts |= {
            f"{mode}: architecture steps": f"{alpha_steps:,}, each {step / 1e9:.0f} G, "
            f"{(2 * sampled + extra) / (3 * sampled):.2f} weight steps",
            f"{mode}: the whole search": f"{2 * total / 1e18:.2f} · 10^18 operations, "
            f"{hours:.0f} device hours",
            f"{mode}: images": f"{rate:.0f} a second, {rate / _CORE.value:.1f} cores for each device",
        }
    cli.print_facts(
        f"On paper, {_TERAFLOPS.value:g} · 10^12 operations a second at {_UTILISATION.value:.0%}", facts
    )


def _macs() -> tuple[float, dict[str, float]]:
    """Multiply-adds of a sampled network, and of the further candidates that a gate step computes: means."""
    choices = FULL.choices(_RESOLUTION)
    blocks = [np.array([spec.macs for spec in choice.specs], float) for choice in choices]
    mean = float(sum(block.mean() for block in blocks))
    # What is no choice, from any one network: all but its blocks.
    first = FULL.architecture(tuple(choice.operations[0] for choice in choices), "first")
    fixed = first.macs(_RESOLUTION, _CLASSES) - sum(block[0] for block in blocks)
    # Of k candidates, one is active and each of the others is computed with the same chance.
    every = float(sum(block.mean() * (len(block) - 1) for block in blocks))
    return mean + fixed, {"two": mean, "full": every}


if __name__ == "__main__":
    cli.run(main)
