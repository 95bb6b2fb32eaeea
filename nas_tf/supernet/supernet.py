"""The supernet: fixed layers and, for every block, one path per candidate behind binary gates."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from nas_tf.network import layers
from nas_tf.space.layer_spec import IMAGE_CHANNELS, BlockSpec
from nas_tf.space.search_space import Choice, SearchSpace
from nas_tf.supernet.chains import Chain
from nas_tf.supernet.paths import Path, PathFunctions, PathKind, compiled_functions, shared_functions


class _Paths:
    """Makes paths, each kind of path once, and functions once for all that can share them."""

    def __init__(self, jit_compile: bool, style: layers.Style):
        self._style = style
        self._kinds: dict[Hashable, PathKind] = {}
        self._functions: dict[Hashable, PathFunctions] = {}
        self._jit_compile = jit_compile

    def make(
        self,
        key: Hashable,
        chain_of: Callable[[], Chain],
        name: str,
        has_shortcut: bool = False,
    ) -> Path:
        """A path; `chain_of` makes its chain if no path of this key was made before."""
        if key not in self._kinds:
            chain = chain_of()
            self._kinds[key] = PathKind(chain, self._functions_of(chain))
        return Path(self._kinds[key], has_shortcut, name=name)

    def _functions_of(self, chain: Chain) -> PathFunctions:
        if self._jit_compile:
            return compiled_functions(chain)
        if chain.form not in self._functions:
            self._functions[chain.form] = shared_functions(chain)
        return self._functions[chain.form]

    def block(self, spec: BlockSpec, name: str) -> Path | None:
        """The path of one candidate; None for ZeroOp."""
        if spec.is_skipped:
            return None
        return self.make(spec, lambda: self._chain(spec, name), name, spec.has_shortcut)

    def _chain(self, spec: BlockSpec, name: str) -> Chain:
        """The operation's layers, with the places of those that others of its form have."""
        if self._jit_compile:
            # Compiled alone, it has no others to share a graph with.
            return Chain(layers.operation_layers(spec, name, self._style), spec.input_width)
        chain: list[keras.layers.Layer] = []
        optional, absent = [], []
        for part in spec.operation.parts(spec.input_width, spec.output_width, spec.stride):
            start = len(chain)
            convolution = part.convolution
            chain += layers.convolution_layers(convolution, f"{name}_{convolution.name}", self._style)
            if part.optional:
                optional.append(range(start, len(chain)))
            if not part.present:
                absent.append(range(start, len(chain)))
        return Chain(chain, spec.input_width, optional, absent)


class MixedOperation(keras.layers.Layer):
    """A block with all its candidates, y = Σ_k g_k · F_k(x) (+ x with a shortcut).

    The gates g are binary and one-hot, so one path runs. F of ZeroOp is 0.

    Attributes:
      choice: the block's candidates with their shapes.
      offered: one bool per candidate: whether it may be switched on.
      paths: one `Path` per candidate, None for ZeroOp and for what is not offered.
    """

    def __init__(self, choice: Choice, make: _Paths, offered: Sequence[bool] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.choice = choice
        self.offered = tuple([True] * len(choice.specs) if offered is None else map(bool, offered))
        # A path's name is unique, since the optimizer's slots and checkpoints go by it.
        self.paths = [
            make.block(spec, f"{self.name}_{spec.operation.name}") if has else None
            for spec, has in zip(choice.specs, self.offered, strict=True)
        ]

    @property
    def offered_paths(self) -> list[Path | None]:
        """The paths of what is offered, None for ZeroOp."""
        return [path for path, has in zip(self.paths, self.offered, strict=True) if has]

    def call(self, x: tf.Tensor, active: int, training: bool = False) -> tf.Tensor:
        """Output with candidate `active` switched on."""
        if not self.offered[active]:
            raise ValueError(f"Candidate {active} of {self.name} is not offered.")
        path = self.paths[active]
        return x if path is None else path.join(x, path(x, training=training))


class Supernet(keras.Model):
    """All networks of a search space with shared weights.

    Args:
      space: with its widths already multiplied.
      resolution: side of the square input.
      num_classes: outputs.
      jit_compile: whether XLA compiles each path.
      offered: bool [blocks, candidates]; what is not offered gets no path. By default all is.

    Attributes:
      resolution, num_classes, jit_compile: as given.
      stem, first, after: fixed `Path`s around the mixed operations.
      blocks: the mixed operations, in order.
    """

    def __init__(
        self,
        space: SearchSpace,
        resolution: int,
        num_classes: int,
        jit_compile: bool = False,
        offered: np.ndarray | None = None,
    ):
        super().__init__(name="supernet")
        self.resolution, self.num_classes = resolution, num_classes
        self.jit_compile = jit_compile
        style = layers.Style(activation=space.activation)
        make = _Paths(jit_compile, style)
        stem, first = space.fixed_before(resolution)
        after = space.fixed_after(resolution, num_classes)
        self.stem = make.make("stem", lambda: Chain(layers.stem_layers(stem, style), IMAGE_CHANNELS), "stem")
        self.first = make.block(first, "first")
        self.blocks = [
            MixedOperation(choice, make, _row(offered, index, choice), name=f"block{index}")
            for index, choice in enumerate(space.choices(resolution))
        ]
        self.after = make.make(
            "after",
            lambda: Chain(layers.layers_after(after, style), after[0].input_width),
            "after",
        )
        self.built = True

    def call(self, images: tf.Tensor, active: Sequence[int], training: bool = False) -> tf.Tensor:
        """Logits [N, classes] of the network whose block b runs candidate active[b].

        Args:
          images: float32 [N, H, W, 3] = (uint8 − 128) / 128.
          active: one candidate index per block.
          training: batch norm by the batch (True) or by its moving averages.
        """
        x = self.stem(images, training=training)
        x = self.first.join(x, self.first(x, training=training))
        for block, index in zip(self.blocks, active, strict=True):
            x = block(x, int(index), training=training)
        return self.after(x, training=training)

    def active_paths(self, active: Sequence[int]) -> list[Path]:
        """The paths that run, fixed ones included, ZeroOps left out."""
        chosen = (block.paths[int(k)] for block, k in zip(self.blocks, active, strict=True))
        return [self.stem, self.first, *(path for path in chosen if path is not None), self.after]

    def all_paths(self) -> list[Path]:
        """Every path of every block, and the fixed ones."""
        searched = (path for block in self.blocks for path in block.paths)
        return [self.stem, self.first, *(path for path in searched if path is not None), self.after]


def _row(offered: np.ndarray | None, block: int, choice: Choice) -> Sequence[bool] | None:
    # Rows are as long as the longest one's.
    return None if offered is None else offered[block, : len(choice.specs)]
