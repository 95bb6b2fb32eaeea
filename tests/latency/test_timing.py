"""Statistics of timings, and how often models are timed."""

import statistics

import numpy as np
import pytest

from nas_tf.latency.timing import TimingConfig, summarize, time_models, time_with_progress, without_drift
from tests.latency.fake_device import FakeDevice


def test_statistics_of_known_samples():
    timing = summarize([float(i) for i in range(1, 102)])  # 1 … 101: quartiles 26, 51, 76
    assert (timing.median_ms, timing.p90_ms, timing.spread_ms, timing.runs) == (51, 91, 25, 101)
    # 1.2533 · (50 / 1.349) / √101 of the median
    assert timing.error == pytest.approx(1.2533 * 50 / 1.349 / 101**0.5 / 51)


def test_outliers_move_nothing():
    clean = [10.0 + 0.01 * (i % 5) for i in range(50)]
    disturbed = clean[:45] + [500.0] * 5
    assert summarize(disturbed).median_ms == pytest.approx(summarize(clean).median_ms, abs=0.011)
    assert summarize(disturbed).spread_ms <= 0.02


def test_error_is_that_of_the_median():
    """The formula agrees with the scatter of medians of many simulated runs."""
    random = np.random.default_rng(0)
    runs = random.normal(10.0, 0.5, (2000, 80))
    claimed = np.mean([summarize(list(run)).error for run in runs])
    assert claimed == pytest.approx(np.median(runs, axis=1).std() / 10.0, rel=0.1)


def test_passes_are_interleaved_in_changing_order():
    device = FakeDevice({"a": 1.0, "b": 2.0, "c": 3.0}.get)
    seen = []
    samples = time_with_progress(
        "t",
        device,
        dict.fromkeys("abc"),
        TimingConfig(num_rounds=30),
        save=lambda s: seen.append(len(s["a"])),
    )
    assert len(device.rounds) == 30 and seen == list(range(1, 31))
    assert all(sorted(r) == ["a", "b", "c"] for r in device.rounds)
    assert len({tuple(r) for r in device.rounds}) == 6, "every order occurs"
    assert {n: statistics.median(t) for n, t in samples.items()} == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_all_are_timed_again_while_one_spreads():
    class OneNoisy(FakeDevice):
        """`noisy` scatters by 30 %, `calm` not at all."""

        def time_round(self, models):
            times = super().time_round(models)
            if "noisy" in times:
                times["noisy"] = [10.0 * (1 + 0.3 * self._random.gauss(0, 1))]
            return times

    device, samples = OneNoisy(lambda name: 1.0), {}
    config = TimingConfig(num_rounds=10, max_error=0.03, max_rounds=2000)
    time_models(device, dict.fromkeys(["calm", "noisy"]), config, samples, lambda done, worst: None)
    # Together, for a pass of one model alone would not tell the machine's pace in it.
    assert len(samples["calm"]) == len(samples["noisy"]) and 50 < len(samples["noisy"]) < 1000
    assert summarize(samples["noisy"]).error <= 0.03


class Changing(FakeDevice):
    """A machine that is up to 40 % slower in some passes than in others."""

    def time_round(self, models):
        pace = 1.4 if (len(self.rounds) // 5) % 3 == 1 else 1.0
        return {name: [pace * t for t in times] for name, times in super().time_round(models).items()}


def test_a_change_of_pace_is_told_from_the_models():
    names = {f"m{index}": 1.0 + index for index in range(12)}
    device, samples = Changing(names.get, noise=0.01), {}
    config = TimingConfig(num_rounds=31, max_extra_seconds=0.0)
    time_models(device, dict.fromkeys(names), config, samples, lambda done, worst: None)
    found = without_drift(samples)
    for name, truth in names.items():
        assert np.median(found[name]) == pytest.approx(truth, rel=0.01)
        # As if the pace had never changed: the scatter is the noise.
        assert np.std(found[name]) / truth == pytest.approx(0.01, rel=0.6)
        assert np.std(samples[name]) / truth > 0.1
    few = {name: samples[name] for name in list(names)[:3]}
    assert without_drift(few) is few


def test_what_drifts_is_steady_when_its_pace_is_known():
    """No passes are spent on what is the machine's and not the models'."""
    config = TimingConfig(num_rounds=20, max_error=0.01, max_rounds=500)
    taken = {}
    for count in (4, 12):
        names = {f"m{index}": 1.0 + index for index in range(count)}
        device, samples = Changing(names.get, noise=0.01), {}
        time_models(device, dict.fromkeys(names), config, samples, lambda done, worst: None)
        taken[count] = len(samples["m0"])
    assert taken[12] == 20 < taken[4]


@pytest.mark.parametrize(
    "config",
    [
        TimingConfig(num_rounds=5, max_error=1e-9, max_rounds=12),
        TimingConfig(num_rounds=12, max_error=1e-9, max_extra_seconds=0.0),
    ],
)
def test_gives_up_in_the_end(config):
    device, samples = FakeDevice(lambda name: 1.0, noise=0.5), {}
    time_models(device, {"a": None}, config, samples, lambda done, worst: None)
    assert 12 <= len(samples["a"]) <= 13 and summarize(samples["a"]).error > 1e-9


def test_earlier_timings_count():
    device, samples = FakeDevice(lambda name: 1.0), {"a": [1.0] * 7, "b": [1.0] * 10}
    done = []
    time_models(
        device,
        dict.fromkeys("abc"),
        TimingConfig(num_rounds=10),
        samples,
        lambda count, worst: done.append(count),
    )
    assert [len(samples[name]) for name in "abc"] == [10, 10, 10]
    assert sum("b" in r for r in device.rounds) == 0 and sum("a" in r for r in device.rounds) == 3
    assert done == list(range(1, 11))
