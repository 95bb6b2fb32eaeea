"""What a search is asked to do, as plain data. Imports no TensorFlow."""

import dataclasses

from nas_tf.base.run_folder import KEPT_CHECKPOINTS
from nas_tf.data.config import Augmentation, DataConfig

ALGORITHMS = ("gradient", "reinforce", "random")
GATE_MODES = ("full", "two")


@dataclasses.dataclass(frozen=True)
class SearchSchedule:
    """When what is learned how fast; defaults are the published ImageNet ones.

    Attributes:
      warmup_epochs: of weights alone, alpha frozen, cosine from `warmup_learning_rate`.
      tied_epochs: the first of the warm-up, in which a block's candidates are one; see
        `nas_tf.supernet.tying`.
      epochs: of both, cosine from `learning_rate`.
      alpha_every: weight steps before each architecture step.
      held_out: images of the training split for alpha alone; below 1: a share of the split.
    """

    # Of alpha's settings, the rate and the number of held-out images are the paper's; the authors'
    # ImageNet code has 0.001 and 50,000. Epochs, their rates and `alpha_every` are the code's.
    warmup_epochs: int = 40
    epochs: int = 120
    batch_size: int = 256
    warmup_learning_rate: float = 0.05
    learning_rate: float = 0.025
    alpha_learning_rate: float = 0.006
    alpha_every: int = 5
    held_out: float = 5000
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    # 0 as in the paper: 40 epochs of warm-up leave the time to learn without it.
    tied_epochs: int = 0


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits of the network that is looked for; 0 means none for parameters and multiply-adds."""

    latency_ms: float
    params: int = 0
    macs: int = 0


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Settings of a search.

    Attributes:
      space, resolution, width_multiplier: which networks.
      latency_table: file; `missing_latency` "error" or "estimate".
      algorithm: "gradient" (of the binary gates), "reinforce", or "random", a control: gate
        gradients of the right size and no information.
      gate_mode: "full" or "two" paths per architecture step, for the gradient.
      max_gate_paths: of each block in a "full" step; where there are more candidates, so many are
        drawn anew for every step. 0: no limit.
      latency_loss: see `nas_tf.search.objective`.
      derive: "budget" or "argmax"; see `nas_tf.search.derivation`.
      min_budget_share: of the latency budget, which the derived network uses at least if it can;
        for `latency_loss` that holds E[latency] at the budget.
      drop_candidates: whether candidates that no network within the budget can have are left out.
      num_candidates: how many of the best architectures to list.
      judged_networks: drawn at the end and judged on held-out images with the shared weights, of which
        the best is the result; 1: the most probable one, as it is. See `nas_tf.search.judging`.
      judge_epochs: of training each of them alone from fresh weights, by which they are judged instead of
        by the shared weights; at most 1. See `nas_tf.search.judging_alone`.
      judge_rounds: of so many networks each; from the second on they are those that a model of the figures
        so far expects most of. See `nas_tf.search.judged_rounds`.
      finalists: so many of the best judged networks are trained alone again, for `finalist_epochs` with
        the rate lowered to 0, and the best of these is the result; 0: the best judged one is.
      checkpoint_minutes: between checkpoints; the end of an epoch always is one.
      keep_checkpoints: how many are kept.
      shards: equal parts of a batch, each normalized by itself; processes share them.
    """

    data: DataConfig
    latency_table: str
    budget: Budget
    augmentation: Augmentation = Augmentation()
    space: str = "full"
    resolution: int = 224
    width_multiplier: float = 1.0
    missing_latency: str = "error"
    schedule: SearchSchedule = SearchSchedule()
    algorithm: str = "gradient"
    gate_mode: str = "two"
    # All of the paper's seven candidates. More cost more than they tell: docs/search.md, "Cost of a step".
    max_gate_paths: int = 7
    # With the authors' two forms, E[LAT] ended at 136 to 145 ms whatever the target of 50 to 120
    # (docs/search.md, "Objectives").
    latency_loss: str = "projected"
    derive: str = "budget"
    min_budget_share: float = 0.95
    drop_candidates: bool = True
    num_candidates: int = 1
    judged_networks: int = 1
    judge_epochs: float = 0.0
    judge_rounds: int = 1
    finalists: int = 0
    finalist_epochs: float = 0.0
    jit_compile: bool = False
    mixed_precision: bool = False
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = KEPT_CHECKPOINTS
    seed: int = 0
    shards: int = 1
