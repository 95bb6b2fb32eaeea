"""How many examples each fuzzing test tries, and what it says at the end.

pytest tests/fuzz                            some hundred each, the same in every run
NAS_TF_FUZZ=100000 pytest tests/fuzz -s      so many each, others in every run
"""

from hypothesis import HealthCheck, settings

from tests.fuzz import judge
from tests.fuzz.run import EXAMPLES

settings.register_profile(
    "gate",
    max_examples=150,
    derandomize=True,
    # Judged by processor time in `judge`, which does not count what other processes take.
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("gate")


def pytest_terminal_summary(terminalreporter):
    """Inputs of each parser, where they were asked for by hand."""
    if not EXAMPLES:
        return
    for name, counts in judge.COUNTS.items():
        terminalreporter.write_line(
            f"{name}: {counts.total:,} inputs, {counts.values:,} values, {counts.refusals:,} refusals, "
            f"slowest {counts.slowest_s:.3f} s, memory grew by {counts.grown_bytes >> 20} MiB"
        )
