"""A device whose latencies are known, for tests of what is done with them."""

import random


class FakeDevice:
    """Times models by a given function; remembers what it was asked.

    Args:
      truth_ms: model's name → latency in ms.
      noise: relative standard deviation of a timing.
      fail_after: rounds after which it raises `KeyboardInterrupt`, as a killed run would end.
    """

    batch_size = 1000

    def __init__(self, truth_ms, noise=0.0, fail_after=None, **identity):
        self._truth_ms, self._noise, self._fail_after = truth_ms, noise, fail_after
        self._random = random.Random(0)
        self._identity = {
            "device": "fake",
            "backend": "host",
            "runtime": "none 1",
            "kernels": "builtin",
            "num_threads": 1,
            "details": {},
        } | identity
        self.rounds, self.closed = [], False

    def identity_fields(self):
        return dict(self._identity)

    def time_round(self, models):
        if self._fail_after is not None and len(self.rounds) >= self._fail_after:
            raise KeyboardInterrupt
        self.rounds.append(list(models))
        return {
            name: [self._truth_ms(name) * (1 + self._noise * self._random.gauss(0, 1))] for name in models
        }

    def close(self):
        self.closed = True
