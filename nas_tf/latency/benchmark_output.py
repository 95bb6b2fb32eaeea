"""Reading what TFLite's native `benchmark_model` prints."""

import dataclasses
import re

from nas_tf.base.errors import UserError

_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_STATISTICS = re.compile(rf"\bcount=([0-9]+)\b.*?\bavg=({_NUMBER})(?:.*?\bmedian=({_NUMBER}))?")
# Newer binaries print the first form, binaries up to 2019 the second.
_AVERAGE = re.compile(
    rf"Inference timings in us:.*Inference \(avg\): ({_NUMBER})|"
    rf"Average inference timings in us:.*(?:Inference|no stats): ({_NUMBER})"
)
# Printed by the runtime itself from 2020 on, and by the flag.
_XNNPACK = re.compile(
    r"Created TensorFlow Lite XNNPACK delegate|XNNPACK delegate created|[Aa]pplied XNNPACK delegate"
)
_TOOK_NOTHING = re.compile(r"XNNPACK delegate.*will not be executed by the delegate")
# A binary that does not know the flag says so and goes on; one built without XNNPACK fails to apply it.
_NO_XNNPACK = re.compile(
    r"Unconsumed cmdline flags:.*--use_xnnpack=true|Failed to (?:apply|create) (?:the )?XNNPACK delegate"
)
_BEGIN, _END = "nas_tf-begin", "nas_tf-end"
_EXCERPT = 300


@dataclasses.dataclass(frozen=True)
class Run:
    """One model's run over `count` inferences.

    The typical latency in ms is the median where it is printed, else the mean.
    """

    typical_ms: float
    count: int


def parse_run(output: str, model: str) -> Run:
    """The run in one model's output; `model` names it in the `UserError`."""
    average = list(_AVERAGE.finditer(output))
    statistics = list(_STATISTICS.finditer(output))
    if not average or not statistics:
        raise UserError(f"The output of benchmark_model for {model} was not understood: {excerpt(output)!r}.")
    # Statistics are printed for the warm-up first and for the run itself last.
    count, mean, median = statistics[-1].groups()
    typical_ms = float(median or mean) / 1e3
    if typical_ms <= 0 or int(count) < 1:
        raise UserError(f"benchmark_model reported {typical_ms} ms over {count} runs for {model}.")
    return Run(typical_ms, int(count))


def ran_with_xnnpack(output: str) -> bool | None:
    """Whether one model's run says that XNNPACK ran it; None where it does not tell.

    Nor does it where the delegate took none of the model's operations, as may be right for a tiny one.
    """
    if _NO_XNNPACK.search(output):
        return False
    return True if _XNNPACK.search(output) and not _TOOK_NOTHING.search(output) else None


def marked_command(name: str, command: str) -> str:
    """Shell text that runs `command` with its output between markers that carry `name`."""
    # The bare `echo` ends a last line that the program left open, so that the marker has its own.
    return f"echo {_BEGIN} {name}; {command} 2>&1; status=$?; echo; echo {_END} {name} $status"


def split_marked(output: str) -> dict[str, tuple[str, int]]:
    """Name → (output, exit status) of every `marked_command` that ran to its end."""
    # Shells of older phones end lines as a terminal does, with \r.
    pattern = re.compile(rf"^{_BEGIN} (\S+)\r?$(.*?)^{_END} \1 ([0-9]+)\r?$", re.MULTILINE | re.DOTALL)
    return {m[1]: (m[2], int(m[3])) for m in pattern.finditer(output)}


def excerpt(output: str) -> str:
    """The end of an output on one line."""
    text = " ".join(output.split())  # the end is where programs say what went wrong
    return text if len(text) <= _EXCERPT else "…" + text[-_EXCERPT:]
