"""Named numbers as one vector: both ways follow one description."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


class Packing:
    """Where named numbers lie in a vector.

    A checkpoint holds the vector and not this description, so old ones are read only as long as
    names, order and sizes stay.

    Args:
      sizes: name → how many numbers, in the order of the vector.
    """

    def __init__(self, sizes: Mapping[str, int]):
        self._sizes = dict(sizes)

    @property
    def size(self) -> int:
        """How many numbers in all."""
        return sum(self._sizes.values())

    def pack(self, values: Mapping[str, ArrayLike]) -> np.ndarray:
        """One vector of all values, which may come in any order.

        Args:
          values: name → a number, or a vector of as many as described.

        Returns:
          float64 [size].

        Raises:
          ValueError: a name is missing or unknown, or has another number of values.
        """
        vectors = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in values.items()}
        given = {name: len(vector) for name, vector in vectors.items()}
        if given != self._sizes:
            raise ValueError(f"Numbers by name are {self._sizes}, not {given}.")
        return np.concatenate([vectors[name] for name in self._sizes])

    def unpack(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """The opposite of `pack`: name → its float64 numbers, a vector of its own.

        Raises:
          ValueError: the vector has another length.
        """
        if vector.shape != (self.size,):
            raise ValueError(f"Numbers by name are {self._sizes}, {self.size} in all, not {vector.shape}.")
        ends = np.cumsum(list(self._sizes.values()))
        parts = np.split(vector, ends[:-1])
        return {name: part.copy() for name, part in zip(self._sizes, parts, strict=True)}
