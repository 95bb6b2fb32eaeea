"""How a run measures: with the kernels asked for, else as its table was measured."""

import dataclasses
import sys

from nas_tf.base.errors import require
from nas_tf.base.interpreter import KERNELS
from nas_tf.base.run_folder import BENCHMARK, SEARCH, TABLE, RunFolder
from nas_tf.latency.devices import DeviceConfig
from nas_tf.latency.host import HostConfig
from nas_tf.latency.table import LatencyTable


def begun_kernels(workdir: str, stage: str) -> str:
    """Kernels in the settings of a stage that has begun; "" if it has not."""
    settings = RunFolder(workdir).stage(stage).settings() if workdir else None
    settings = settings if isinstance(settings, dict) else {}
    # An evaluation has no device, and its kernels stand alone.
    device = settings.get("device", settings)
    kernels = device.get("kernels") if isinstance(device, dict) else None
    return kernels if kernels in KERNELS else ""


def keep_begun_kernels(device: DeviceConfig, workdir: str, stage: str) -> DeviceConfig:
    """`device` with the kernels that a begun stage has, for one who asked for none.

    Runs from before XNNPACK became the default hold "builtin"; they go on, and say so.
    """
    begun = begun_kernels(workdir, stage)
    if not begun or begun == device.kernels:
        return device
    _say(
        f"The {stage} of the run {workdir!r} was begun with {begun} kernels, and goes on with them; "
        f"a new --workdir takes {device.kernels}."
    )
    return dataclasses.replace(device, kernels=begun)


def kernels_of_run(device: DeviceConfig, workdir: str) -> DeviceConfig:
    """`device` with the kernels of a run's benchmark if it has begun, else of the run's table.

    For one who asked for none, and wants to see how fast the network is that the table promised.
    """
    if begun_kernels(workdir, BENCHMARK):
        return keep_begun_kernels(device, workdir, BENCHMARK)
    summary = RunFolder(workdir).stage(SEARCH).summary() if workdir else None
    searched = summary.get("kernels") if isinstance(summary, dict) else None
    kernels = searched if searched in KERNELS else begun_kernels(workdir, TABLE)
    if not kernels or kernels == device.kernels:
        return device
    _say(
        f"The latency table of the run {workdir!r} is of {kernels} kernels; its file is timed with them too."
    )
    return dataclasses.replace(device, kernels=kernels)


def kernels_of_table(device: DeviceConfig, given: bool, table: LatencyTable) -> DeviceConfig:
    """`device` with the kernels of the table that judges what it will measure.

    Args:
      given: whether the device's kernels were asked for.

    Raises:
      UserError: kernels were asked for that are not the table's.
    """
    kernels = table.identity.kernels
    if kernels not in KERNELS:  # a published table, which does not say
        _say(f"The latency table {table.path!r} names no kernels; files are timed with {device.kernels}.")
        return device
    require(
        not given or kernels == device.kernels,
        f"--kernels={device.kernels}, but the latency table {table.path!r} was measured with {kernels} "
        f"kernels; give --kernels={kernels}, or a table that was measured with {device.kernels}.",
    )
    if kernels != device.kernels:
        _say(f"The latency table {table.path!r} is of {kernels} kernels; files are timed with them too.")
    return _with_invokes_of(table, dataclasses.replace(device, kernels=kernels))


def _with_invokes_of(table: LatencyTable, device: DeviceConfig) -> DeviceConfig:
    """A table of first runs, as tables that do not say how they were measured are, judges first runs."""
    if not isinstance(device, HostConfig) or table.identity.backend != "host":
        return device
    own = table.identity.details.get("invokes", 1)
    if not isinstance(own, int) or (own > 1) == (device.invokes > 1):
        return device
    _say(f"The latency table {table.path!r} was measured with --invokes={own}; files are timed so too.")
    # Not its number: tables come from elsewhere, and a large one would never end.
    return dataclasses.replace(device, invokes=HostConfig.invokes if own > 1 else 1)


def _say(sentence: str) -> None:
    # To the error stream, where progress goes too.
    print(sentence, file=sys.stderr, flush=True)
