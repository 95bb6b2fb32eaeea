"""All that moves in a search, and its two kinds of step."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.base.finite import require_finite
from nas_tf.base.progress import LOOK_EVERY
from nas_tf.data.preprocess import to_network_input
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.search import gates
from nas_tf.search.architecture_parameters import ArchitectureParameters
from nas_tf.search.objective import IN_LOSS, Objective, reference_scale
from nas_tf.search.packing import Packing
from nas_tf.search.problem import SearchProblem
from nas_tf.search.projection import settle
from nas_tf.search.reinforce import Reinforce
from nas_tf.search.weight_optimizer import WeightOptimizer
from nas_tf.supernet import tying
from nas_tf.supernet.steps import gate_gradients, make_steps, weight_step
from nas_tf.supernet.supernet import Supernet
from nas_tf.train import precision

# What a random draw is for: the two kinds of step must not draw alike.
_WEIGHT_DRAW, _ALPHA_DRAW, _UNTIE_DRAW = 0, 1, 2
WEIGHT_ADVICE = "use a smaller --search_learning_rate or --search_warmup_learning_rate in another --workdir"
_ALPHA_ADVICE = "use a smaller --search_alpha_learning_rate in another --workdir"

# Sums over the epoch so far, in the order in which checkpoints hold them.
_SUMS = ("weight_steps", "loss", "hits", "images", "alpha_steps", "alpha_loss")


class _AlphaLoss(NamedTuple):
    """The loss of an architecture step and where it pulls.

    Attributes:
      loss: cross-entropy on the batch.
      gradient: of the loss, or of the negative reward, in alpha: float64 [blocks, candidates].
      involved: bool [blocks, candidates], the candidates between which probability may move.
      p: probabilities renormalised over the involved, 0 elsewhere.
    """

    loss: float
    gradient: np.ndarray
    involved: np.ndarray
    p: np.ndarray


class _WeightFigures(NamedTuple):
    """What a weight step found, still on the device."""

    step: int
    loss: tf.Tensor
    hits: tf.Tensor
    images: int


class SearchState:
    """Supernet, alpha, optimizers, multipliers and an epoch's sums.

    Draws depend on (seed, step) alone, so no random state has to be kept, and several processes
    sample the same networks.
    """

    def __init__(self, problem: SearchProblem, workers: Workers = ALONE):
        config = problem.config
        self.workers, self.shards = workers, Shards(config.shards, workers)
        keras.utils.set_random_seed(config.seed)  # of the supernet's initial weights
        self.supernet = _make_supernet(problem)
        self._steps = make_steps(self.supernet)
        self._optimizer = WeightOptimizer(self.supernet, weight_decay=config.schedule.weight_decay)
        self.parameters = ArchitectureParameters(
            problem.offered, config.schedule.alpha_learning_rate, config.seed
        )
        # The authors' reward has the latency in it. Then the objective must not count it again.
        latency_reward = config.algorithm == "reinforce" and config.latency_loss == "mul_log"
        latency = problem.resources[0]
        # With every algorithm, since checkpoints of all of them hold its baseline.
        self.reinforce = Reinforce(latency, latency_reward)
        self.objective = Objective(
            IN_LOSS if latency_reward else config.latency_loss,
            problem.resources,
            reference_scale(latency, problem.offered),
        )
        self._config, self._tied_steps = config, problem.tied_steps
        self._sums = dict.fromkeys(_SUMS, 0.0)
        self._unread: list[_WeightFigures] = []
        self._packing = Packing(
            {**dict.fromkeys(_SUMS, 1), "objective": len(self.objective.state), "baseline": 1}
        )
        self._numbers = tf.Variable(tf.zeros([self._packing.size], tf.float64), trainable=False)

    def trackables(self) -> dict[str, Any]:
        """What a checkpoint has to hold; call `pack` before saving and `unpack` after restoring."""
        return {
            "supernet": self.supernet,
            "weight_optimizer": self._optimizer,
            "parameters": self.parameters,
            "numbers": self._numbers,
        }

    def pack(self) -> None:
        """Plain numbers, which checkpoints do not know, into their variable."""
        self.read()
        numbers = {**self._sums, "objective": self.objective.state, "baseline": self.reinforce.baseline}
        self._numbers.assign(self._packing.pack(numbers))

    def unpack(self) -> None:
        """The opposite of `pack`."""
        numbers = self._packing.unpack(self._numbers.numpy())
        self._sums, self._unread = {name: numbers[name].item() for name in _SUMS}, []
        self.objective.state = numbers["objective"]
        self.reinforce.baseline = numbers["baseline"].item()

    def weight_step(self, step: int, images: tf.Tensor, labels: tf.Tensor, rate: float) -> None:
        """Trains the weights of one sampled network; images are uint8.

        Raises:
          UserError: the loss of this step, or of an earlier one that was not read yet, is not finite.
        """
        active = self.running(step, self.parameters(self._rng(step, _WEIGHT_DRAW)))
        loss, hits = weight_step(
            self._steps,
            self._optimizer,
            to_network_input(images),
            labels,
            active,
            rate,
            self._config.schedule.label_smoothing,
            self.shards,
        )
        self._unread.append(_WeightFigures(step, loss, hits, self.shards.whole(len(labels))))
        if len(self._unread) >= LOOK_EVERY or step + 1 == self._tied_steps:
            self.read()
        # At the end of the last tied step and not before the next one: held-out accuracy at the
        # epoch's end already runs the freed candidates.
        if step + 1 == self._tied_steps:
            tying.untie(self.supernet, self._rng(step, _UNTIE_DRAW))

    def read(self) -> None:
        """Waits for the device, and adds what the latest weight steps found to the epoch's sums.

        Raises:
          UserError: a loss is not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        found = tf.stack([value for figures in unread for value in (figures.loss, figures.hits)]).numpy()
        # In float64 and one after the other, as if each had been read after its step.
        for figures, (loss, hits) in zip(unread, found.reshape(-1, 2).tolist(), strict=True):
            require_finite({"search's training loss": loss}, figures.step, WEIGHT_ADVICE)
            self._add(weight_steps=1, loss=loss, hits=hits, images=figures.images)

    def running(self, step: int, active: np.ndarray) -> np.ndarray:
        """What runs for the candidates `active` at a step: what they begin as while they are tied."""
        return tying.tied(self.supernet, active) if step < self._tied_steps else active

    def alpha_step(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        """Moves alpha by one batch of held-out images; no weight changes.

        Raises:
          UserError: the loss or the gradient is not finite; alpha stays as it was.
        """
        p = self.parameters.probabilities()
        found = self._alpha_loss(to_network_input(images), labels, p, self._rng(step, _ALPHA_DRAW))
        # A weight step that failed comes first, and is what the message has to name.
        self.read()
        size = float(np.abs(found.gradient).sum())
        require_finite(
            {"loss on the images for alpha": found.loss, "gradient of alpha": size}, step, WEIGHT_ADVICE
        )
        gradient = self.objective.gradient(found.loss, found.gradient, p, found.p)
        self.parameters.apply_gradient(gradient, found.involved)
        settle(self.parameters, self.objective)
        alpha = self.parameters.values()[self.parameters.offered]
        require_finite({"alpha": float(np.abs(alpha).sum())}, step, _ALPHA_ADVICE)
        self._add(alpha_steps=1, alpha_loss=found.loss)

    def _alpha_loss(
        self, images: tf.Tensor, labels: tf.Tensor, p: np.ndarray, rng: np.random.Generator
    ) -> _AlphaLoss:
        """The loss and its gradient in alpha by the configured algorithm; moves REINFORCE's baseline."""
        if self._config.algorithm == "reinforce":
            loss, gradient = self.reinforce.gradient(self.supernet, images, labels, p, rng, self.shards)
            return _AlphaLoss(loss, gradient, self.parameters.offered, p)
        involved, active = self._draw_gates(p, rng)
        loss, _, gate_gradient = gate_gradients(self._steps, images, labels, involved, active, self.shards)
        if self._config.algorithm == "random":
            gate_gradient = _without_information(gate_gradient, rng)
        involved_p = gates.renormalised(p, involved)
        return _AlphaLoss(loss, gates.alpha_gradient(gate_gradient, involved_p), involved, involved_p)

    def _draw_gates(self, p: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(candidates with a gradient, bool [blocks, candidates]; active candidate of each block)."""
        offered, most = self.parameters.offered, self._config.max_gate_paths
        if self._config.gate_mode == "two":
            return gates.sample_involved(rng, p, offered, 2)
        if most and offered.sum(axis=1).max() > most:
            return gates.sample_involved(rng, p, offered, most)
        return offered, gates.sample(rng, p)

    def figures(self) -> dict[str, float | None]:
        """Means of the epoch so far, and where alpha stands."""
        self.read()
        sums = self._sums
        p = self.parameters.probabilities()
        alpha_loss = sums["alpha_loss"] / sums["alpha_steps"] if sums["alpha_steps"] else None
        figures = {
            "loss": sums["loss"] / max(1.0, sums["weight_steps"]),
            "train_top1": sums["hits"] / max(1.0, sums["images"]),
            "alpha_loss": alpha_loss,
            "entropy": gates.entropy(p),
        }
        return figures | {f"expected_{r.name}": r.expected(p) for r in self.objective.resources}

    def begin_epoch(self) -> None:
        """Starts the epoch's means afresh."""
        self.read()
        self._sums = dict.fromkeys(_SUMS, 0.0)

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            self._sums[name] += value

    def _rng(self, step: int, kind: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, step, kind))


def _make_supernet(problem: SearchProblem) -> Supernet:
    config = problem.config
    with precision.policy(config.mixed_precision):
        return Supernet(
            problem.space, config.resolution, problem.source.num_classes, config.jit_compile, problem.offered
        )


def _without_information(gate_gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal noise of the same root mean square where there are gradients."""
    # ZeroOp's gradient and those of gates not involved are exactly 0 (`gate_gradients`) and stay so.
    present = gate_gradient != 0
    size = np.sqrt(np.mean(gate_gradient[present] ** 2)) if present.any() else 0.0
    return np.where(present, rng.normal(0.0, size, gate_gradient.shape), 0.0)
