"""The ProxylessNAS authors' other method: policy gradients of sampled networks' rewards."""

import numpy as np
import tensorflow as tf

from nas_tf.distribute.shards import Shards, pack
from nas_tf.network.losses import cross_entropy
from nas_tf.search import gates
from nas_tf.search.objective import Resource
from nas_tf.supernet.supernet import Supernet

# All three as in the authors' code.
NUM_NETWORKS = 10  # sampled per batch of held-out images
REWARD_EXPONENT = 0.1
BASELINE_RATE = 0.99  # of the way to a batch's mean reward


class Reinforce:
    """Gradient of minus the expected reward (Williams, 1992), with a moving baseline.

    Args:
      latency: with its target as limit.
      latency_reward: reward = accuracy · (target / latency)^0.1, the authors'; else accuracy
        alone, for an objective that treats latency by its own gradient.
    """

    def __init__(self, latency: Resource, latency_reward: bool):
        self._latency, self._latency_reward = latency, latency_reward
        self.baseline = 0.0

    def reward(self, accuracy: float, choice: np.ndarray) -> float:
        """What a network is worth."""
        if not self._latency_reward:
            return accuracy
        return accuracy * (self._latency.limit / self._latency.of(choice)) ** REWARD_EXPONENT

    def gradient(
        self,
        supernet: Supernet,
        images: tf.Tensor,
        labels: tf.Tensor,
        p: np.ndarray,
        rng: np.random.Generator,
        shards: Shards | None = None,
    ) -> tuple[float, np.ndarray]:
        """(mean cross-entropy, gradient in alpha); moves the baseline.

        Args:
          shards: the parts of the batch that are normalized apart, of which these images are this
            process's; None: one part.
        """
        choices = [gates.sample(rng, p) for _ in range(NUM_NETWORKS)]
        shards = shards or Shards(1)
        found = []
        for choice in choices:
            # By the batch's statistics: a path's moving averages are those of many different networks.
            def found_on(images, labels, _, choice=choice):
                return pack(cross_entropy(supernet(images, choice, training=True), labels))

            if shards.count == 1:
                found.append(found_on(images, labels, 0))
            else:
                found.append(shards.sum(found_on, images, labels))
        # Read once all networks are under way: each read waits for the device.
        losses, hits = tf.stack(found).numpy().astype(np.float64).T
        accuracies = (hits / shards.whole(len(labels))).tolist()
        rewards = [self.reward(*pair) for pair in zip(accuracies, choices, strict=True)]
        return float(np.mean(losses / shards.count)), self.policy_gradient(choices, rewards, p)

    def policy_gradient(self, choices: list[np.ndarray], rewards: list[float], p: np.ndarray) -> np.ndarray:
        """−mean of (reward − baseline) · ∇ log P(choice), once the baseline has moved."""
        mean = float(np.mean(rewards))
        if self.baseline == 0.0:  # none yet
            self.baseline = mean
        # b ← b + 0.99 (mean reward − b), before it is subtracted: what is left is nearly the
        # difference to the batch's own mean, which varies far less than that to a slow average.
        self.baseline += BASELINE_RATE * (mean - self.baseline)
        total = sum(
            (reward - self.baseline) * gates.score_gradient(choice, p)
            for choice, reward in zip(choices, rewards, strict=True)
        )
        return -total / len(choices)
