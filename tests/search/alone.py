"""Searches that train networks alone, for tests of them."""

import dataclasses
import json

import pytest

from nas_tf.search import judging_alone
from nas_tf.search.run import run_search


def without_shared_weights(config, **changes):
    """The configuration of a search that trains networks alone and nothing else."""
    schedule = dataclasses.replace(config.schedule, warmup_epochs=0, tied_epochs=0, epochs=0)
    return dataclasses.replace(
        config, schedule=schedule, **{"min_budget_share": 0.0, "judge_epochs": 0.5} | changes
    )


def figures_of(record):
    """Network → figure, of a search's record of judged networks."""
    return {text: network["top1"] for text, network in json.loads(record.read_text()).items()}


def whole_and_cut(config, folder, trained, monkeypatch, after):
    """Summaries of a search, and of one like it that is killed after so many networks and taken up.

    Args:
      trained: a list to which every network adds that `judging_alone._train_alone` trains.
    """
    whole = run_search(str(folder / "whole"), config)
    train_alone, seen = judging_alone._train_alone, len(trained)

    def killed(*arguments):
        if len(trained) - seen == after:
            raise KeyboardInterrupt
        return train_alone(*arguments)

    monkeypatch.setattr(judging_alone, "_train_alone", killed)
    with pytest.raises(KeyboardInterrupt):
        run_search(str(folder / "cut"), config)
    monkeypatch.setattr(judging_alone, "_train_alone", train_alone)
    cut = run_search(str(folder / "cut"), config)
    assert len(trained) == 2 * seen, "none was trained twice"
    return whole, cut
