"""The stage that builds a latency table: table, summary, facts for a person."""

import dataclasses
import pathlib
from typing import Any

from nas_tf.base import clock, files
from nas_tf.base.run_folder import TABLE, open_stage
from nas_tf.latency.build import BuildConfig, build_table
from nas_tf.latency.random_networks import reach_of
from nas_tf.latency.slow_entries import slow_entries, slow_for_people
from nas_tf.latency.table import LatencyTable
from nas_tf.space.search_space import find_space

# Runs of earlier versions do not say which networks their tables have beside the space's: none.
_NEWER: dict[str, Any] = {"also": []}


def run_build_table(workdir: str, config: BuildConfig) -> dict[str, Any]:
    """Builds the table in a run folder, or returns the summary of a stage that has ended.

    Args:
      workdir: the run folder; "" writes `<output>.summary.json` beside the table instead.
      config: an empty `output` means `<workdir>/build_latency_table/latency_table.json`.

    Returns:
      The summary: `device`, `kernels`, `entries`, `seconds`, `output`, `unsteady`,
      `slow_entries` (see `nas_tf.latency.slow_entries`), `fastest_network_ms` and
      `slowest_network_ms` as the table predicts them, and the identity.
    """
    if not workdir:
        summary = _summary(config)
        files.write_json(pathlib.Path(config.output).with_suffix(".summary.json"), summary)
        return summary
    stage = open_stage(workdir, TABLE, _settings(config), _NEWER)
    held = stage.summary()
    # Not the path in the summary, which is another one when the run folder has moved.
    output = config.output or str(stage.latency_table)
    if held is not None and pathlib.Path(output).exists():
        return held | {"output": output}
    summary = _summary(dataclasses.replace(config, output=output))
    stage.write_summary(summary)
    return summary | {"output": output}


def _settings(config: BuildConfig) -> dict[str, Any]:
    """What decides the table; around which budget it was corrected is no other table."""
    settings = dataclasses.asdict(config)
    del settings["budget_ms"]
    return settings | {"also": list(config.also)}


def _summary(config: BuildConfig) -> dict[str, Any]:
    # That file holds the timings of a build that was cut short.
    with clock.kept_with(f"{config.output}.partial.json") as working_time:
        table = build_table(config)
    reach = reach_of(find_space(config.space).scaled(config.width_multiplier), table)
    return {
        "device": table.identity.device,
        "kernels": table.identity.kernels,
        "entries": len(table.entries),
        "seconds": working_time.seconds(),
        "output": config.output,
        "baseline_ms": table.baseline_ms,
        "fastest_network_ms": reach.low_ms,
        "slowest_network_ms": reach.high_ms,
        "unsteady": unsteady_keys(table),
        "slow_entries": [group.to_json() for group in slow_entries(table)],
        "correction": table.correction.figures(),
        "prediction_error": table.prediction_error,
        "identity": dataclasses.asdict(table.identity),
    }


def unsteady_keys(table: LatencyTable) -> list[str]:
    """Entries whose medians never became steady."""
    return [key for key, entry in table.entries.items() if entry.unsteady]


def facts_for_people(summary: dict[str, Any]) -> dict[str, Any]:
    """What to print of a summary."""
    identity = summary["identity"]
    return {
        "device": f"{summary['device']}, {identity['num_threads']} thread(s)",
        "runtime": f"{identity['runtime']}, {identity['kernels']} kernels, {identity['dtype']}",
        "entries": summary["entries"],
        "unsteady entries": len(summary["unsteady"]),
        **slow_for_people(summary),
        **_error_for_people(summary["prediction_error"]),
        **_reach_for_people(summary),
        "seconds": summary["seconds"],
        "table": summary["output"],
    }


def _reach_for_people(summary: dict[str, Any]) -> dict[str, str]:
    """Which budgets there are networks for; summaries of earlier versions do not say."""
    if "fastest_network_ms" not in summary:
        return {}
    low, high = summary["fastest_network_ms"], summary["slowest_network_ms"]
    return {
        "networks take": f"{low:.4g} to {high:.4g} ms, of all in the space {summary['identity']['space']}"
    }


def _error_for_people(error: dict[str, Any]) -> dict[str, str]:
    if not error:
        return {}
    return {
        "prediction error": f"{error['mape_percent']:.1f} % on {error['networks']:.0f} whole "
        f"networks; measuring twice differs by "
        f"{error['noise_floor_percent']:.1f} %"
    }
