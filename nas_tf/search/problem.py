"""A checked search: images, space, costs and budget, all known to fit before any long work."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from nas_tf.base.errors import UserError, require
from nas_tf.data import batches
from nas_tf.data.config import Part
from nas_tf.data.held import HELD, held
from nas_tf.data.holdout import hold_out
from nas_tf.data.opening import open_config
from nas_tf.data.overview import check_disjoint
from nas_tf.data.sources import ImageSource
from nas_tf.distribute.shards import Shards
from nas_tf.distribute.workers import ALONE, Workers
from nas_tf.latency.candidate_costs import candidate_costs, offered_candidates
from nas_tf.latency.table import LatencyTable, load_table
from nas_tf.search import dropping, gates
from nas_tf.search.config import ALGORITHMS, GATE_MODES, Budget, SearchConfig
from nas_tf.search.derivation import METHODS, most_probable, most_probable_using
from nas_tf.search.objective import EQUALITIES, FORMS, Resource
from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import LayerSpec
from nas_tf.space.search_space import SearchSpace, find_space
from nas_tf.train.schedules import steps_per_epoch


@dataclasses.dataclass(frozen=True)
class SearchProblem:
    """All that a search works on.

    Attributes:
      space: with its widths multiplied.
      in_space: bool [blocks, candidates]: which candidates each block of the space has.
      offered: those of them that are searched among.
      resources: latency first, then the further budgets.
      weight_part, alpha_part: disjoint images of the training split.
      steps_per_epoch: weight steps.
      alpha_source: what `alpha_part` is a part of; `weight_part` is one of `source`.
    """

    config: SearchConfig
    source: ImageSource
    space: SearchSpace
    table: LatencyTable
    in_space: np.ndarray
    offered: np.ndarray
    resources: list[Resource]
    weight_part: Part
    alpha_part: Part
    steps_per_epoch: int
    alpha_source: ImageSource

    @property
    def dropped(self) -> np.ndarray:
        """bool [blocks, candidates], True where the budget leaves no network with the candidate."""
        return self.in_space & ~self.offered

    @property
    def dropped_in_words(self) -> str:
        """`6_7 in blocks 0-8; 3_7 in blocks 0-4, 6`; empty where none is."""
        return dropping.in_words(self.space.choices(self.config.resolution), self.dropped)

    @property
    def least_share(self) -> float:
        """Of the latency budget, which the derived network uses at least where it can."""
        config = self.config
        held = config.derive == "budget" and config.latency_loss in EQUALITIES
        return config.min_budget_share if held else 0.0

    @property
    def warmup_steps(self) -> int:
        """Weight steps with alpha frozen."""
        return self.config.schedule.warmup_epochs * self.steps_per_epoch

    @property
    def tied_steps(self) -> int:
        """Weight steps in which a block's candidates are one."""
        return self.config.schedule.tied_epochs * self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """All weight steps."""
        return self.warmup_steps + self.config.schedule.epochs * self.steps_per_epoch

    def holding_alpha_images(self, stream: TextIO | None = None) -> "SearchProblem":
        """The same, with alpha's images decoded and in memory, where that holds them.

        They are read at each architecture step and each epoch's end, and always look alike.
        """
        config = self.config
        size = config.resolution, config.data.resize_size
        source = held(self.alpha_source, self.alpha_part, *size, stream=stream)
        return (
            self if source is None else dataclasses.replace(self, alpha_source=source, alpha_part=Part(HELD))
        )

    def architecture(self, choice: np.ndarray, name: str = "searched") -> Architecture:
        """The network with candidate choice[b] in block b."""
        specs = (c.specs[k] for c, k in zip(self.space.choices(self.config.resolution), choice, strict=True))
        return self.space.architecture(tuple(spec.operation for spec in specs), name)

    def derive(self, log_p: np.ndarray, method: str = "", count: int = 1) -> list[np.ndarray]:
        """The best architectures by the configured method, as choices."""
        limited = (method or self.config.derive) == "budget"
        share = self.least_share if limited else 0.0
        return most_probable_using(log_p, self.resources if limited else (), share, count)

    def fits(self, choices: np.ndarray) -> np.ndarray:
        """Which choices, int64 [networks, blocks], `derive` could give: bool [networks]."""
        if self.config.derive != "budget":
            return np.ones(len(choices), bool)
        latency = self.resources[0]
        within = [resource.of_each(choices) <= resource.limit for resource in self.resources]
        used = latency.of_each(choices) >= self.least_share * latency.limit
        return np.all([*within, used], axis=0)


def check_problem(config: SearchConfig) -> SearchProblem:
    """Opens what the search needs and refuses what cannot work.

    Raises:
      UserError: a wrong setting, a table that does not fit, a budget out of reach, unusable
        images or too few of them.
    """
    _check_settings(config)
    space = find_space(config.space).scaled(config.width_multiplier)
    in_space = offered_candidates(space)
    table = load_table(config.latency_table, config.missing_latency)
    source = open_config(config.data)
    table.check_fits(config.space, config.resolution, config.width_multiplier, source.num_classes)
    resources = make_resources(space, config.resolution, source.num_classes, table, config.budget)
    _check_budget(resources, in_space)
    offered = dropping.affordable(resources, in_space) if config.drop_candidates else in_space
    weight_part, alpha_part, steps = _images(source, config)
    return SearchProblem(
        config, source, space, table, in_space, offered, resources, weight_part, alpha_part, steps, source
    )


def check_before_table(config: SearchConfig, workers: Workers = ALONE) -> None:
    """Refuses what cannot work whatever a table will say that has yet to be measured.

    Args:
      workers: the processes that will share the search.

    Raises:
      UserError: as `check_problem`; a latency budget is not looked at.
    """
    _check_settings(config)
    space = find_space(config.space).scaled(config.width_multiplier)
    in_space = offered_candidates(space)
    source = open_config(config.data)
    work = _work(space, config.resolution, source.num_classes, config.budget)
    if work:
        _check_budget(work, in_space)
    check_shards(source, config, _images(source, config)[:2], workers)


def check_shards(source: ImageSource, config: SearchConfig, parts: Sequence[Part], workers: Workers) -> None:
    """Refuses batches of the parts that the processes cannot share equally."""
    shards = Shards(config.shards, workers)
    for part in parts:
        # Smaller than --search_batch_size where the part has fewer images.
        size = min(config.schedule.batch_size, source.part_size(part))
        shards.require_divides(size, "A batch of the search")


def _images(source: ImageSource, config: SearchConfig) -> tuple[Part, Part, int]:
    """Images for the weights, for alpha, and steps of an epoch; refuses what cannot work."""
    # The search does not need the evaluation split, but must not learn from what will judge it.
    if config.data.eval_split or {"validation", "test"} & set(source.split_names()):
        check_disjoint(
            source,
            ("train_split", config.data.train_split),
            ("eval_split", source.evaluation_split(config.data.eval_split)),
        )
    weight_part, alpha_part = _divide(source, config)
    split_size = source.part_size(config.data.train_split)
    steps = steps_per_epoch(weight_part.size(split_size), config.schedule.batch_size)
    # For its refusal of a size below the resolution: batches ask for it only once the search has
    # begun.
    batches.image_size(source, config.resolution, config.data.resize_size)
    return weight_part, alpha_part, steps


def make_resources(
    space: SearchSpace, resolution: int, num_classes: int, table: LatencyTable, budget: Budget
) -> list[Resource]:
    """Latency from the table; parameters and multiply-adds where the budget limits them."""
    costs, fixed = candidate_costs(space, resolution, num_classes, table.cost_ms)
    latency = Resource("latency_ms", costs, table.intercept_ms + fixed, budget.latency_ms)
    return [latency, *_work(space, resolution, num_classes, budget)]


def _work(space: SearchSpace, resolution: int, num_classes: int, budget: Budget) -> list[Resource]:
    """Parameters and multiply-adds where the budget limits them."""

    def resource(name: str, cost: Callable[[LayerSpec], float], limit: float) -> list[Resource]:
        if not limit:
            return []
        return [Resource(name, *candidate_costs(space, resolution, num_classes, cost), limit)]

    return [
        *resource("params", lambda spec: spec.params, budget.params),
        *resource("macs", lambda spec: spec.macs, budget.macs),
    ]


def _check_settings(config: SearchConfig) -> None:
    for name, allowed in (
        ("algorithm", ALGORITHMS),
        ("gate_mode", GATE_MODES),
        ("latency_loss", FORMS),
        ("derive", METHODS),
    ):
        value = getattr(config, name)
        require(value in allowed, f"--{name}={value!r}; allowed: {', '.join(allowed)}.")
    schedule = config.schedule
    require(
        config.max_gate_paths == 0 or config.max_gate_paths >= 2,
        f"--max_gate_paths must be 0 (no limit) or at least 2, not {config.max_gate_paths}.",
    )
    for name, value in (
        ("search_alpha_every", schedule.alpha_every),
        ("search_batch_size", schedule.batch_size),
        ("num_candidates", config.num_candidates),
        ("judged_networks", config.judged_networks),
        ("judge_rounds", config.judge_rounds),
        ("resolution", config.resolution),
    ):
        require(value > 0, f"--{name} must be at least 1, not {value}.")
    require(
        0 <= config.judge_epochs <= 1,
        f"--judge_epochs must be 0 to 1, so that no image is met twice, not {config.judge_epochs}.",
    )
    require(
        schedule.warmup_epochs >= 0,
        f"--search_warmup_epochs must be at least 0, not {schedule.warmup_epochs}.",
    )
    _check_epochs(config)
    require(
        0 <= schedule.tied_epochs <= schedule.warmup_epochs,
        f"--search_tied_epochs must be 0 to the {schedule.warmup_epochs} epochs of "
        f"--search_warmup_epochs, not {schedule.tied_epochs}.",
    )
    require(
        0 <= config.min_budget_share <= 1,
        f"--min_budget_share must be 0 to 1, not {config.min_budget_share:g}.",
    )
    require(
        config.budget.latency_ms > 0,
        f"--target_latency_ms must be above 0, not {config.budget.latency_ms:g}.",
    )


def _check_epochs(config: SearchConfig) -> None:
    """Refuses a search that would learn nothing, or what it has too little for."""
    epochs, warmup = config.schedule.epochs, config.schedule.warmup_epochs
    require(epochs >= 0, f"--search_epochs must be at least 0, not {epochs}.")
    require(
        epochs > 0 or (warmup == 0 and config.judge_epochs > 0 and config.judged_networks > 1),
        f"--search_epochs=0 shares no weights, so it needs --search_warmup_epochs=0, --judge_epochs above 0 "
        f"and --judged_networks above 1, not {warmup}, {config.judge_epochs:g} and {config.judged_networks}.",
    )
    require(
        config.judge_rounds == 1 or config.judged_networks > 1,
        f"--judge_rounds={config.judge_rounds} needs --judged_networks above 1, or its rounds have nothing "
        "to compare.",
    )
    _check_finalists(config)


def _check_finalists(config: SearchConfig) -> None:
    """Refuses a final of none, of one, or of more than there are."""
    finalists, judged = config.finalists, config.judged_networks * config.judge_rounds
    require(
        finalists == 0 or 2 <= finalists <= judged,
        f"--finalists must be 0 or 2 to the {judged} networks that --judged_networks and --judge_rounds "
        f"judge, not {finalists}.",
    )
    require(
        (config.finalist_epochs > 0) == (finalists > 0) and config.finalist_epochs >= 0,
        f"--finalists={finalists} with --finalist_epochs={config.finalist_epochs:g}: so many networks train "
        "for so long, so both must be above 0, or both 0.",
    )


def _check_budget(resources: list[Resource], offered: np.ndarray) -> None:
    """Every limit within what the space can reach, and all of them reachable at once."""
    flags = {"latency_ms": "--target_latency_ms", "params": "--max_params", "macs": "--max_macs"}
    for resource in resources:
        low, high = resource.range(offered)
        name = flags[resource.name]
        unit = " ms" if resource.name == "latency_ms" else ""
        require(
            resource.limit >= low,
            f"{name}={resource.limit:g} is below the smallest network of this search space: "
            f"its networks take {low:.6g} to {high:.6g}{unit}.",
        )
        require(
            resource.limit <= high,
            f"{name}={resource.limit:g} is above the largest network of this search space: "
            f"its networks take {low:.6g} to {high:.6g}{unit}, so there is nothing to limit.",
        )
    # Each limit alone may be in reach and no network meet all of them. Which one is found does not
    # matter here, so all are equally probable.
    most_probable(gates.log_probabilities(np.where(offered, 0.0, -np.inf)), resources)


def _divide(source: ImageSource, config: SearchConfig) -> tuple[Part, Part]:
    """Images for the weights, and class-stratified ones for alpha."""
    held_out, split = config.schedule.held_out, config.data.train_split
    total = source.part_size(split)
    number = round(held_out * total) if held_out < 1 else int(held_out)
    try:
        weight_part, alpha_part = hold_out(source, split, number)
    except UserError as error:
        # The default is ImageNet's; what fits a split of another size is a share.
        raise UserError(
            f"--search_held_out={held_out:g}: {error} Of these images, --search_held_out=0.2 is a fifth."
        ) from error
    return weight_part, alpha_part
