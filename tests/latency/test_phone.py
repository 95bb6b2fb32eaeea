"""Timing on a phone, against a program that stands in for `adb`."""

import dataclasses

import pytest

from nas_tf.base.errors import UserError
from nas_tf.latency import phone as phone_module
from nas_tf.latency.benchmark_output import ran_with_xnnpack
from nas_tf.latency.phone import FOLDER, AdbConfig, Phone
from nas_tf.latency.timing import TimingConfig, time_models
from tests.latency.stand_in_phone import OLD_OUTPUT, OUTPUT


def config_of(phone, **changes) -> AdbConfig:
    """Settings that reach the stand-in."""
    return dataclasses.replace(AdbConfig(str(phone.binary), adb_path=str(phone.adb)), **changes)


@pytest.mark.parametrize("output", [None, OLD_OUTPUT])
def test_times_every_model_and_cleans_up(stand_in_phone, models, output):
    if output:
        stand_in_phone.write("benchmark.txt", output)
    phone = Phone(config_of(stand_in_phone, cpu_mask="f0", num_threads=2, num_runs=33))
    samples = phone.time_round(models)
    # The stand-in takes a microsecond a byte.
    assert samples == {"a": [1.0], "b": [2.5], "c": [4.0]}
    phone.time_round(models)
    assert len(stand_in_phone.calls("push")) == 2  # the binary, then all models together
    trips = [c for c in stand_in_phone.calls("shell") if "--graph=" in c[-1]]
    assert len(trips) == 2 and all("taskset f0 ./benchmark_model" in c[-1] for c in trips)
    assert all(
        "--num_threads=2" in run and "--num_runs=33" in run and "--use_xnnpack=true" in run
        for run in stand_in_phone.runs()
    )
    phone.close()
    assert not list((stand_in_phone.folder / "device").iterdir())


def test_says_what_it_runs_on(stand_in_phone, models):
    phone = Phone(config_of(stand_in_phone, cpu_mask="f0"))
    phone.time_round(models)
    fields = phone.identity_fields()
    assert (fields["device"], fields["backend"], fields["kernels"]) == ("Pixel 2", "adb", "xnnpack")
    assert fields["runtime"].startswith("benchmark_model ")
    assert fields["details"] == {
        "android": "11",
        "build": "google/walleye/walleye:11/RP1A/1:user",
        "abi": "arm64-v8a",
        "cores": "8",
        "cpu_mask": "f0",
        "hottest_c": 25.0,
        "delegate": "XNNPACK",
    }


# What the tool prints beside the runtime's own line, by how much of a model the delegate took.
EXPLICIT = "INFO: Explicitly applied XNNPACK delegate, and the model graph will be {} by the delegate.\n"
NOTHING = (
    "WARN: Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the "
    "delegate.\n"
)
CREATED = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
PLAIN = OUTPUT.replace(CREATED, "")


@pytest.mark.parametrize(
    "output,expected",
    [
        (OUTPUT, True),
        (EXPLICIT.format("completely executed") + PLAIN, True),
        (EXPLICIT.format("partially executed") + PLAIN, True),
        ("INFO: XNNPACK delegate created.\n" + PLAIN, True),
        (PLAIN, None),
        (OLD_OUTPUT, None),
        (NOTHING + OUTPUT, None),
        ("WARN: Unconsumed cmdline flags: --use_xnnpack=true\n" + PLAIN, False),
        ("WARN: Unconsumed cmdline flags: --min_secs=0.1\n" + OUTPUT, True),
        ("ERROR: Failed to apply XNNPACK delegate.\n" + OUTPUT, False),
    ],
)
def test_whether_a_run_was_xnnpacks(output, expected):
    assert ran_with_xnnpack(output) is expected


def test_a_delegate_that_is_not_confirmed_is_named_so(stand_in_phone, models):
    stand_in_phone.write("benchmark.txt", PLAIN)
    phone = Phone(config_of(stand_in_phone))
    phone.time_round(models)
    delegate = phone.identity_fields()["details"]["delegate"]
    assert delegate == "XNNPACK asked for, not confirmed by benchmark_model"
    stand_in_phone.write("benchmark.txt", OUTPUT)
    phone.time_round(models)
    assert phone.identity_fields()["details"]["delegate"] == "XNNPACK"


def test_built_in_kernels_have_no_delegate(stand_in_phone, models):
    stand_in_phone.write("benchmark.txt", PLAIN)
    phone = Phone(config_of(stand_in_phone, kernels="builtin"))
    phone.time_round(models)
    fields = phone.identity_fields()
    assert fields["kernels"] == "builtin" and fields["details"]["delegate"] == "none"
    assert all("--use_xnnpack=false" in run for run in stand_in_phone.runs())


def test_timings_of_other_kernels_than_asked_for_are_refused(stand_in_phone, models):
    stand_in_phone.write("benchmark.txt", "WARN: Unconsumed cmdline flags: --use_xnnpack=true\n" + PLAIN)
    with pytest.raises(
        UserError, match="asked for --kernels=xnnpack, but says that it ran a without XNNPACK"
    ):
        Phone(config_of(stand_in_phone)).time_round(models)
    stand_in_phone.write("benchmark.txt", OUTPUT)
    with pytest.raises(UserError, match="asked for --kernels=builtin, but says that it ran a with XNNPACK"):
        Phone(config_of(stand_in_phone, kernels="builtin")).time_round(models)


def test_many_models_need_few_trips(stand_in_phone, tmp_path):
    """40 models, 16 a trip: what a trip brought is kept when the next one fails."""
    models = {}
    for index in range(40):
        models[str(index)] = tmp_path / f"m{index}.tflite"
        models[str(index)].write_bytes(b"\x1c\0\0\0TFL3" + bytes(92 + index))
    phone = Phone(config_of(stand_in_phone))
    before = len(stand_in_phone.calls("shell"))
    samples, kept = {}, []
    stand_in_phone.write("lose_after", "36")
    with pytest.raises(UserError, match="was lost"):
        time_models(phone, models, TimingConfig(num_rounds=1), samples, lambda done, worst: kept.append(done))
    assert len(kept) == 2 and sum(map(len, samples.values())) == 32
    for name in ("lost", "lose_after"):
        (stand_in_phone.folder / name).unlink()
    time_models(phone, models, TimingConfig(num_rounds=1), samples, lambda done, worst: kept.append(done))
    assert dict(samples) == {str(index): [(100 + index) / 1000] for index in range(40)}
    trips = [c for c in stand_in_phone.calls("shell")[before:] if "--graph=" in c[-1]]
    assert len(trips) == 4 and trips[3][-1].count("--graph=") == 8
    assert len(stand_in_phone.calls("push")) == 4  # the binary, and the models by batches


def test_waits_until_it_is_cool(stand_in_phone, models, monkeypatch):
    monkeypatch.setattr(phone_module, "_COOLING_POLL_SECONDS", 0.0)
    stand_in_phone.write("heat", "401\n395\n379\n")
    phone = Phone(config_of(stand_in_phone))
    phone.time_round(models)
    calls = [c[-1] for c in stand_in_phone.calls("shell")]
    first_run = next(i for i, c in enumerate(calls) if "--graph=" in c)
    assert calls[:first_run].count("dumpsys battery") == 3, "ran before it was cool"
    assert phone.hottest_c == 40.1
    stand_in_phone.write("heat", "450\n")
    hot = Phone(config_of(stand_in_phone, max_cooling_seconds=0.0))
    with pytest.raises(UserError, match="still at 45.0 °C after waiting"):
        hot.time_round(models)


def refusal(phone, **changes) -> str:
    """The sentence with which a phone is refused."""
    with pytest.raises(UserError) as caught:
        Phone(config_of(phone, **changes))
    return str(caught.value)


def test_no_adb(stand_in_phone):
    assert "install Android's platform-tools" in refusal(stand_in_phone, adb_path="no-such-adb")


def test_no_device(stand_in_phone):
    stand_in_phone.set_devices()
    assert "No Android device is connected" in refusal(stand_in_phone)


def test_several_devices(stand_in_phone, models):
    stand_in_phone.set_devices(ONE="device", TWO="unauthorized")
    message = refusal(stand_in_phone)
    assert "ONE (device), TWO (unauthorized)" in message and "--adb_serial" in message
    assert "'THREE' is not connected" in refusal(stand_in_phone, serial="THREE")
    assert Phone(config_of(stand_in_phone, serial="ONE")).time_round(models)["a"] == [1.0]


@pytest.mark.parametrize(
    "state,expected",
    [
        ("unauthorized", "allow USB debugging"),
        ("offline", "is offline"),
        ("no permissions (user in plugdev group; are your udev rules wrong?)", "udev rules"),
        ("recovery", "recovery mode"),
        ("strange", "state 'strange'"),
    ],
)
def test_device_not_ready(stand_in_phone, state, expected):
    stand_in_phone.set_devices(FA79X1A00123=state)
    assert expected in refusal(stand_in_phone)


def test_binary_missing(stand_in_phone):
    stand_in_phone.binary.unlink()
    assert "There is no --benchmark_binary=" in refusal(stand_in_phone)
    with pytest.raises(UserError, match="needs --benchmark_binary"):
        AdbConfig("")


def test_binary_for_another_architecture(stand_in_phone):
    stand_in_phone.write_binary(machine=62)
    message = refusal(stand_in_phone)
    assert "is built for x86_64" in message and "is arm64-v8a" in message
    assert not stand_in_phone.calls("push"), "refused before anything is copied"
    stand_in_phone.binary.write_text("#!/bin/sh\necho this is a script\n")
    assert "is not an ELF program" in refusal(stand_in_phone)
    # A 64-bit phone runs 32-bit programs of its family.
    stand_in_phone.write_binary(machine=40)
    Phone(config_of(stand_in_phone)).close()


def test_binary_that_the_phone_refuses(stand_in_phone):
    stand_in_phone.write("cannot_run", "")
    assert "not executable: 64-bit ELF file" in refusal(stand_in_phone)
    assert not list((stand_in_phone.folder / "device").iterdir()), "cleaned up"


def test_cores_that_the_phone_does_not_have(stand_in_phone):
    stand_in_phone.write("no_such_core", "")
    assert "refuses --adb_cpu_mask='f000'" in refusal(stand_in_phone, cpu_mask="f000")
    with pytest.raises(UserError, match="must be hexadecimal"):
        config_of(stand_in_phone, cpu_mask="0; rm -rf /")


@pytest.mark.parametrize("text", ["Segmentation fault", "count=5 avg=oops\nInference timings"])
def test_output_not_understood(stand_in_phone, models, text):
    phone = Phone(config_of(stand_in_phone))
    stand_in_phone.write("benchmark.txt", text)
    with pytest.raises(UserError, match="output of benchmark_model for a was not understood"):
        phone.time_round(models)


def test_benchmark_fails(stand_in_phone, models):
    phone = Phone(config_of(stand_in_phone))
    stand_in_phone.write("fails", "")
    with pytest.raises(UserError, match="failed on a with exit status 1"):
        phone.time_round(models)


def test_device_lost_half_way(stand_in_phone, models):
    phone = Phone(config_of(stand_in_phone))
    stand_in_phone.write("lose_after", "1")
    with pytest.raises(UserError, match="FA79X1A00123 was lost .*run the same command again"):
        phone.time_round(models)
    with pytest.raises(UserError, match="was lost"):
        phone.time_round(models)
    phone.close()  # says nothing: the next run cleans up
    (stand_in_phone.folder / "lost").unlink()
    (stand_in_phone.folder / "lose_after").unlink()
    assert list((stand_in_phone.folder / "device" / FOLDER.rpartition("/")[2]).iterdir())
    again = Phone(config_of(stand_in_phone))
    assert again.time_round(models)["c"] == [4.0]
    again.close()
    assert not list((stand_in_phone.folder / "device").iterdir())


def test_refuses_what_is_no_model(stand_in_phone, tmp_path):
    other = tmp_path / "m.tflite"
    other.write_text("not a flatbuffer")
    phone = Phone(config_of(stand_in_phone))
    with pytest.raises(UserError, match="is not a .tflite file"):
        phone.time_round({"m": other})
