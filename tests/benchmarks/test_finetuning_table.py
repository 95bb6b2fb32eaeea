"""What is said of ways to make one network int8."""

import json

import pytest

from benchmarks.finetuning_table import outcome, table


def test_losses_are_of_each_seeds_own_float_network(tmp_path):
    rows = []
    for seed, (float_top1, int8_top1) in enumerate([(0.70, 0.69), (0.72, 0.72), (0.74, 0.72)]):
        for stage, summary in (
            ("finetune", {"float_top1": float_top1, "agreement": 0.9, "snr_db": 20.0, "seconds": 2.0}),
            ("evaluate", {"int8": {"top1": int8_top1}}),
        ):
            folder = tmp_path / str(seed) / stage
            folder.mkdir(parents=True)
            (folder / "summary.json").write_text(json.dumps(summary))
        rows.append(outcome(str(tmp_path / str(seed))))
    assert [row["int8_top1"] for row in rows] == [0.69, 0.72, 0.72]
    *_, line = table({"a way": rows}).splitlines()
    # Losses 1, 0 and 2 points: mean 1, standard deviation 1, t(0.975; 2) = 4.303.
    half_width = 4.303 / 3**0.5
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[0] == "a way" and cells[2:] == ["71.00%", "90.00%", "20.0", "2"]
    mean, half = map(float, cells[1].split(" ± "))
    assert mean == -1.0 and half == pytest.approx(half_width, abs=0.01)
