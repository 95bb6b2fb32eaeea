"""Whether searched networks are better than random ones, than controls, and than published ones scaled.

    python -m benchmarks.search_beats_baselines --flagfile=flags/evidence.flags --workdir=runs/evidence \\
        --data_dir=…

All networks take at most one latency budget, are trained alone, from scratch, by one recipe, made int8 and
evaluated; at the end their files are timed in one interleaved run, for which nothing else should run on the
machine. The same command goes on where it was stopped. `--parts` runs some of it: `networks` and `times`
measure latencies, the others only compute.

Compared are: networks found with several seeds; random networks of the space that use 95 to 100 % of the
budget (`--random_networks`, some with several training seeds, which tells the spread between networks from
that between seeds); what the same search finds where what it learns by says nothing (`--algorithm=random`),
and with alpha kept where all candidates are equally probable but for the budget; with `--judge_epochs`, the
best of as many networks as the search judges, drawn evenly; MobileNetV2 and MobileNetV4-Conv-S at the width
whose measured time is the budget, at each of `--baseline_resolutions`.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from absl import flags

from benchmarks import evidence_networks, evidence_table
from benchmarks.evidence_jobs import Job, run_all, run_int8
from benchmarks.evidence_networks import Network
from flags import common, latency, paths
from flags import pipeline as pipeline_flags
from nas_tf.base import cli, files
from nas_tf.base.errors import require
from nas_tf.base.run_folder import EVALUATE, SEARCH, TRAIN, RunFolder

PARTS = ("networks", "search", "train", "judge", "int8", "times", "table")
_PARTS = flags.DEFINE_list("parts", list(PARTS), f"Of {', '.join(PARTS)}, in this order.")
_JOBS = flags.DEFINE_integer("jobs", 2, "Processes at a time, of one thread each.", lower_bound=1)
_RANDOM = flags.DEFINE_integer("random_networks", 12, "Random networks.", lower_bound=2)
_REPEATED = flags.DEFINE_integer("repeated_networks", 4, "Random networks trained with all seeds.")
_TRAIN_SEEDS = flags.DEFINE_integer("train_seeds", 3, "Trainings of a network.", lower_bound=1)
_SEARCH_SEEDS = flags.DEFINE_integer("search_seeds", 3, "Searches of each kind.", lower_bound=1)
_CONTROL_SEEDS = flags.DEFINE_integer(
    "control_seeds",
    0,
    "Of the controls with uniform alpha and with noise; 0: as --search_seeds.",
    lower_bound=0,
)
_NETWORK_SEED = flags.DEFINE_integer("network_seed", 0, "Of the random networks.")
_MIN_SHARE = flags.DEFINE_float(
    "min_share", 0.95, "Of the budget, which random networks use at least.", 0.0, 1.0
)
_RESOLUTIONS = flags.DEFINE_list("baseline_resolutions", ["32", "64"], "Of the published networks.")
_PLOT = paths.DEFINE_path("plot", "", "Also draw accuracy against latency: .svg, .png or .pdf.")

_BASELINES = ("mobilenet_v2", "mobilenet_v4_conv_small")
# Random networks are drawn where they are predicted to take these shares of the budget, and so many for
# each that is wanted.
_PREDICTED_WITHIN = (0.93, 1.03)
_DRAWN_FOR_EACH = 3
# Kept still: Adam moves a parameter by about its rate, so by nothing in some thousand steps.
_STILL = 1e-8
SEARCHED, UNIFORM, NOISE = "searched", "control: alpha kept uniform", "control: learns by noise"
# As many networks, judged in the same way, of which none is drawn by what was learned: the plain way.
UNIFORM_JUDGED = "control: as many drawn evenly, the best taken"
_UNIFORM_SPLIT = "train[:6000]"
_KINDS = {
    SEARCHED: {},
    UNIFORM: {"alpha_learning_rate": _STILL},
    UNIFORM_JUDGED: {},
    NOISE: {"algorithm": "random"},
}
RANDOM = "random"


def main() -> None:
    """Runs the parts that are asked for and have not ended, and prints the table."""
    unknown = set(_PARTS.value) - set(PARTS)
    require(not unknown, f"--parts={','.join(_PARTS.value)}; allowed: {', '.join(PARTS)}.")
    require(
        bool(_config().search.latency_table), "--latency_table is needed; see the latency table's command."
    )
    steps = {
        "networks": _measure_networks,
        "search": lambda: run_all(_searches(), _JOBS.value),
        "train": lambda: run_all(_trainings(), _JOBS.value),
        "judge": lambda: run_all(_judgements(), _JOBS.value),
        "int8": lambda: run_all(_conversions(), _JOBS.value),
        "times": _measure_files,
        "table": _print_table,
    }
    for part in PARTS:
        if part in _PARTS.value:
            steps[part]()


def _folder() -> pathlib.Path:
    return pathlib.Path(common.WORKDIR.value)


def _config():
    return pipeline_flags.pipeline_config()


def _read(name: str) -> Any:
    path = _folder() / f"{name}.json"
    require(path.exists(), f"{str(path)!r} is not there yet; run its part of --parts before.")
    return files.read_json(path, name)


# What is compared.


def _measure_networks() -> None:
    """Random networks and published ones whose measured times use the budget, all of one interleaved run.

    A sum of layers misses whole networks by some percent, and the machine's pace of today that of the table:
    so random networks are taken by their measured times, and the searches aim at the budget in the table's
    milliseconds.
    """
    path = _folder() / "networks.json"
    if path.exists():
        return
    search = _config().search
    drawn, predicted_ms = _drawn(search)
    published = {
        f"{name}:{resolution}:{width:g}": (network, int(resolution))
        for name in _BASELINES
        for resolution in _RESOLUTIONS.value
        for width, network in evidence_networks.scaled_versions(name).items()
    }
    own = {f"random:{i}": (network, search.resolution) for i, network in enumerate(drawn)}
    times = _whole_times({**published, **own})
    measured = [times[key] for key in own]
    chosen = _within_budget(measured, search.budget.latency_ms)
    files.write_json(
        path,
        {
            "random": [drawn[i].to_string() for i in chosen],
            "random_measured_ms": [measured[i] for i in chosen],
            "random_predicted_ms": [predicted_ms[i] for i in chosen],
            "measured_over_predicted": float(np.median(np.divide(measured, predicted_ms))),
            "published_ms": {key: times[key] for key in published},
        },
    )


def _drawn(search: Any) -> tuple[list[Any], list[float]]:
    """Random networks whose predicted latencies are about the budget, and those latencies in ms."""
    from nas_tf.latency.table import load_table
    from nas_tf.space.search_space import find_space

    table = load_table(search.latency_table)
    space = find_space(search.space).scaled(search.width_multiplier)
    low, high = (share * search.budget.latency_ms for share in _PREDICTED_WITHIN)
    count = _DRAWN_FOR_EACH * _RANDOM.value
    drawn = evidence_networks.random_within(space, table, low, high, count, _NETWORK_SEED.value)
    return drawn, [table.predict_ms(n, search.resolution, table.identity.num_classes) for n in drawn]


def _within_budget(measured_ms: list[float], limit_ms: float) -> list[int]:
    """Which networks use enough of the budget and not more than all of it, as many as are wanted."""
    least = _MIN_SHARE.value * limit_ms
    chosen = [i for i, ms in enumerate(measured_ms) if least <= ms <= limit_ms][: _RANDOM.value]
    require(
        len(chosen) == _RANDOM.value,
        f"Of {len(measured_ms)} random networks predicted at about --target_latency_ms={limit_ms:.4g} only "
        f"{len(chosen)} measure {_MIN_SHARE.value:.0%} to 100 % of it; allowed: a budget whose neighbourhood "
        "holds more, or fewer --random_networks.",
    )
    return chosen


def _whole_times(networks: dict) -> dict[str, float]:
    """Key → median ms of whole networks (key → network and resolution), joined from converted layers."""
    from nas_tf.latency.build import BuildConfig
    from nas_tf.latency.model_cache import ModelCache, layer_builders
    from nas_tf.latency.whole_networks import stitched

    classes = _num_classes()
    cache = ModelCache(_folder() / "models", BuildConfig.dtype)
    cache.convert(layer_builders(spec for n, r in networks.values() for spec in n.layers(r, classes)))
    times = _times({key: stitched(cache, n, r, classes) for key, (n, r) in networks.items()})
    return {key: float(np.median(values)) for key, values in times.items()}


def _networks() -> list[Network]:
    """All that are known by now."""
    resolution, seeds = _config().search.resolution, tuple(range(_TRAIN_SEEDS.value))
    found = [
        Network(f"random_{i}", RANDOM, text, resolution, seeds if i < _REPEATED.value else seeds[:1])
        for i, text in enumerate(_read("networks")["random"])
    ]
    for group in _kinds():
        for seed in _search_seeds(group):
            summary = RunFolder(_search_folder(group, seed)).stage(SEARCH).summary()
            if summary:
                name = f"{_short(group)}_{seed}"
                found.append(Network(name, group, summary["architecture"], resolution, seeds))
    return found + _published(seeds)


def _published(seeds: tuple[int, ...]) -> list[Network]:
    from nas_tf.space.published import PUBLISHED

    measured, limit, found = _read("networks")["published_ms"], _config().search.budget.latency_ms, []
    for name in _BASELINES:
        for resolution in _RESOLUTIONS.value:
            start = f"{name}:{resolution}:"
            times = {float(k.removeprefix(start)): v for k, v in measured.items() if k.startswith(start)}
            if min(times.values()) > limit:
                # Said in the networks' file too: `published_ms` holds the times of all widths.
                continue
            width = evidence_networks.widest_within(times, limit)
            text = PUBLISHED[name].scaled(width).to_string()
            label = f"{name} x {width:g} at {resolution}"
            found.append(Network(f"{name}_{resolution}", label, text, int(resolution), seeds))
    return found


# Jobs.


def _short(group: str) -> str:
    return group.removeprefix("control: ").replace(",", "").replace(" ", "_")


def _kinds() -> list[str]:
    """Searches and controls; what is judged by shared weights has no control that learns none."""
    return [k for k in _KINDS if k != UNIFORM_JUDGED or _config().search.judge_epochs > 0]


def _search_seeds(group: str) -> range:
    cheap = group in (UNIFORM, NOISE)
    return range(_CONTROL_SEEDS.value if cheap and _CONTROL_SEEDS.value else _SEARCH_SEEDS.value)


def _search_folder(group: str, seed: int) -> str:
    return str(_folder() / "search" / f"{_short(group)}_{seed}")


def _network_folder(network: Network, seed: int) -> str:
    return str(_folder() / "networks" / network.name / str(seed))


def _searches() -> list[Job]:
    jobs = []
    # All seeds of the search before the controls: an early look is then at what matters.
    for group in _kinds():
        for seed in _search_seeds(group):
            folder = _search_folder(group, seed)
            jobs.append(
                Job(
                    f"search {group} {seed}",
                    run_search,
                    (folder, _search_config(group, seed)),
                    _ended(folder, SEARCH),
                )
            )
    return jobs


def _search_config(group: str, seed: int):
    changes = dict(_KINDS[group])
    search = dataclasses.replace(_config().search, seed=seed)
    target_ms = search.budget.latency_ms / _read("networks")["measured_over_predicted"]
    search = dataclasses.replace(search, budget=dataclasses.replace(search.budget, latency_ms=target_ms))
    nothing = dataclasses.replace(search.schedule, tied_epochs=0, warmup_epochs=0, epochs=0)
    if group == UNIFORM_JUDGED:
        number = search.judged_networks * search.judge_rounds
        return dataclasses.replace(search, schedule=nothing, judged_networks=number, judge_rounds=1)
    if group == UNIFORM:
        # Where nothing is learned of alpha, what the shared weights learn changes nothing.
        schedule = dataclasses.replace(nothing, epochs=1, **changes)
        data = dataclasses.replace(search.data, train_split=_UNIFORM_SPLIT)
        search = dataclasses.replace(search, schedule=schedule, data=data)
        return dataclasses.replace(
            search, judged_networks=1, judge_epochs=0.0, judge_rounds=1, finalists=0, finalist_epochs=0.0
        )
    return dataclasses.replace(search, **changes)


def _trainings() -> list[Job]:
    # The first seed of all networks before the second of any: an early look is then at all of them.
    pairs = [(n, s) for s in range(_TRAIN_SEEDS.value) for n in _networks() if s in n.seeds]
    return [
        Job(
            f"train {n.name} {s}",
            run_train,
            (_network_folder(n, s), _pipeline(n, s).train),
            _ended(_network_folder(n, s), TRAIN),
        )
        for n, s in pairs
    ]


def _conversions() -> list[Job]:
    """Of each network's first training."""
    return [
        Job(
            f"int8 {n.name}",
            run_int8,
            (_network_folder(n, 0), _pipeline(n, 0)),
            _ended(_network_folder(n, 0), EVALUATE),
        )
        for n in _networks()
    ]


def _judgements() -> list[Job]:
    """The random networks by what the search judges with: the weights that it shared, or training alone."""
    texts = [n.architecture for n in _networks() if n.group == RANDOM]
    call = judge if _config().search.schedule.epochs else judge_alone
    jobs = []
    for seed in range(_SEARCH_SEEDS.value):
        output = _folder() / f"{_judged_file(seed)}.json"
        arguments = (_search_folder(SEARCHED, seed), _search_config(SEARCHED, seed), texts, str(output))
        jobs.append(Job(f"judge {seed}", call, arguments, output.exists))
    return jobs


def _judged_file(seed: int) -> str:
    return f"shared_{seed}" if _config().search.schedule.epochs else f"alone_{seed}"


def _ended(folder: str, stage: str):
    return lambda: RunFolder(folder).stage(stage).summary() is not None


def _pipeline(network: Network, seed: int):
    """The settings of everything after the search for one network."""
    config = _config()
    train = dataclasses.replace(
        config.train,
        architecture=network.architecture,
        width_multiplier=1.0,
        resolution=network.resolution,
        seed=seed,
    )
    finetune = dataclasses.replace(config.finetune, seed=seed)
    return dataclasses.replace(config, architecture=network.architecture, train=train, finetune=finetune)


# These run in processes of their own.


def run_search(folder: str, config) -> None:
    """One search."""
    from nas_tf.search.run import run_search as run

    run(folder, config)


def run_train(folder: str, config) -> None:
    """One training."""
    from nas_tf.train.run import run_train as run

    run(folder, config)


def judge(folder: str, config, architectures: list[str], output: str) -> None:
    """Writes the held-out accuracy of networks with the weights that a search shared."""
    from nas_tf.search.shared_weights import SharedWeights

    shared = SharedWeights(folder, config)
    files.write_json(output, [shared.top1_of(text) for text in architectures])


def judge_alone(_: str, config, architectures: list[str], output: str) -> None:
    """Writes how well networks learn alone, as a search of these settings judges them."""
    from nas_tf.distribute.shards import Shards
    from nas_tf.distribute.workers import ALONE
    from nas_tf.search.judging_alone import first_part, judged_alone
    from nas_tf.search.problem import check_problem
    from nas_tf.search.shared_weights import choice_of
    from nas_tf.space.architecture import from_string

    problem = check_problem(config)
    choices = [choice_of(problem, from_string(text)) for text in architectures]
    record = pathlib.Path(f"{output}.part")  # taken up after a kill
    files.write_json(output, judged_alone(problem, choices, first_part(config), Shards(1), ALONE, record))
    record.unlink()


# Results.


def _times(models: dict[str, pathlib.Path]) -> dict[str, list[float]]:
    from nas_tf.latency.devices import open_device
    from nas_tf.latency.timing import time_with_progress, without_drift

    device = open_device(latency.device_config())
    try:
        return without_drift(time_with_progress("measure", device, models, latency.timing_config()))
    finally:
        device.close()


def _measure_files() -> None:
    models = {n.name: RunFolder(_network_folder(n, 0)).int8_file for n in _networks()}
    missing = [name for name, path in models.items() if not path.exists()]
    require(not missing, f"Not converted yet: {', '.join(missing)}.")
    medians = {name: float(np.median(times)) for name, times in _times(models).items()}
    files.write_json(_folder() / "times.json", medians)


def _num_classes() -> int:
    from nas_tf.data.opening import open_config

    return open_config(_config().search.data).num_classes


def _print_table() -> None:
    """Also with what has not ended: the rows that are there."""
    times = files.read_json(path, "times") if (path := _folder() / "times.json").exists() else {}
    rows = [
        evidence_table.row(n, [_network_folder(n, s) for s in n.seeds], times.get(n.name))
        for n in _networks()
    ]
    rows = [row for row in rows if row.top1]
    judged = {
        name: files.read_json(path, "judged networks")
        for seed in range(_SEARCH_SEEDS.value)
        if (path := _folder() / f"{(name := _judged_file(seed))}.json").exists()
    }
    costs = [
        RunFolder(_search_folder(SEARCHED, seed)).stage(SEARCH).summary()
        for seed in range(_SEARCH_SEEDS.value)
    ]
    seconds = [c["seconds"] for c in costs if c]
    cost = evidence_table.SearchCost(seconds, _search_epochs(), _config().train.epochs)
    print(evidence_table.markdown(rows))
    print(evidence_table.findings(rows, judged, cost, SEARCHED, RANDOM))
    if _PLOT.value:
        evidence_table.draw(_PLOT.value, rows, RANDOM)


def _search_epochs() -> float:
    """Epochs of the images that a search trains on, with shared weights and in networks alone."""
    search = _config().search
    judged = search.judged_networks * search.judge_rounds * search.judge_epochs
    again = search.finalists * search.finalist_epochs
    return search.schedule.warmup_epochs + search.schedule.epochs + judged + again


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "latency_table", "target_latency_ms"])
    cli.run(main)
