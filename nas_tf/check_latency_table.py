"""Command: how well a latency table predicts whole networks, and its correction.

    python -m nas_tf.check_latency_table --latency_table=runs/table.json --num_fit=8

The correction is fitted on networks that are not among those it is judged by, and no network is
judged by that an earlier correction was fitted on.
"""

from absl import flags

from flags import common, latency, paths
from nas_tf.base import cli, files
from nas_tf.latency.accuracy import check_table
from nas_tf.latency.devices import open_device
from nas_tf.latency.kernels import kernels_of_table
from nas_tf.latency.prediction_plot import save_plot
from nas_tf.latency.table import load_table, save_table
from nas_tf.space.published import read_architecture

_TABLE = paths.DEFINE_path("latency_table", None, "Table to check, a JSON file of ours.")
_NUM_NETWORKS = flags.DEFINE_integer(
    "num_networks", 12, "Random whole networks to judge by.", lower_bound=3, upper_bound=10_000
)
_NUM_FIT = flags.DEFINE_integer(
    "num_fit",
    0,
    "Other networks to fit the table's correction on, 3 or more; 0: none.",
    lower_bound=0,
    upper_bound=10_000,
)
_JOINED = flags.DEFINE_boolean(
    "joined",
    False,
    "Join the networks from the models of the table's entries instead of "
    "converting each: seconds instead of minutes, and the same operations.",
)
_WRITE = flags.DEFINE_boolean(
    "write_correction", False, "Store the correction fitted on --num_fit networks in the table."
)
_BUDGET = flags.DEFINE_float(
    "target_latency_ms",
    0.0,
    "Random networks are predicted to take half of this to twice as much. 0: from the fastest network to "
    "four times its latency.",
    lower_bound=0.0,
)
_ARCHITECTURES = flags.DEFINE_list(
    "architectures",
    [],
    "Further networks to compare, by name, file or short string; the table has to have their entries "
    "(--also_architectures of build_latency_table).",
)
_OUTPUT = paths.DEFINE_path("output_json", "", "Also write the figures to this file.")
_PLOT = paths.DEFINE_path("plot", "", "Also draw predicted against measured: .svg, .png or .pdf.")


def _validate_fit(values: dict) -> bool:
    return values["num_fit"] == 0 and not values["write_correction"] or values["num_fit"] >= 3


flags.register_multi_flags_validator(
    ["num_fit", "write_correction"],
    _validate_fit,
    "--num_fit must be 0, or 3 or more; --write_correction needs it.",
)


def main() -> None:
    """Measures, compares, prints."""
    cli.check_outputs(_OUTPUT.value, _PLOT.value)
    table = load_table(_TABLE.value)
    named = [
        read_architecture(text, "--architectures").scaled(table.identity.width_multiplier)
        for text in _ARCHITECTURES.value
    ]
    device = open_device(kernels_of_table(latency.device_config(), latency.kernels_given(), table))
    try:
        facts, checked, networks = check_table(
            table,
            device,
            latency.timing_config(),
            latency.CACHE_DIR.value or f"{_TABLE.value}.models",
            _NUM_NETWORKS.value,
            _NUM_FIT.value,
            common.SEED.value,
            _JOINED.value,
            _BUDGET.value,
            named,
        )
    finally:
        device.close()
    own = table.identity
    facts["measured_on"] = {"device": own.device, "runtime": own.runtime, "kernels": own.kernels}
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, facts)
    if _PLOT.value:
        save_plot(_PLOT.value, checked, networks)
    if _WRITE.value:
        save_table(_TABLE.value, checked)
    for name, figures in facts.items():
        cli.print_facts(f"Latency table, {name.replace('_', ' ')}", figures)


if __name__ == "__main__":
    flags.mark_flag_as_required("latency_table")
    cli.run(main, resumes=False)
