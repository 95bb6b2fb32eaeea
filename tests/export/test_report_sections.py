"""Sections of the report on choices, quantization, data and repetition, from figures made up here."""

import json
import re

import pytest

from export import report_choice, report_origin, report_page, report_quantization
from export.report_facts import RunFacts
from nas_tf.base.run_history import FILE
from nas_tf.space.search_space import SMALL, TINY

CHOICES = TINY.choices(32)


def facts(path, **changes) -> RunFacts:
    """A run whose search took the second candidate of each block at 30 %, beside the first at 60 %."""
    counts = [len(choice.operations) for choice in CHOICES]
    shares = [[0.6, 0.3] + [0.1 / (n - 2)] * (n - 2) for n in counts]
    costs = [[1.0 * (block + 1) * (k + 1) for k in range(n)] for block, n in enumerate(counts)]
    network = TINY.architecture(tuple(choice.operations[1] for choice in CHOICES))
    given = {
        "workdir": path,
        "summaries": {},
        "settings": {"search": {"space": "tiny", "resolution": 32, "costs": [["latency_ms", 0.5, costs]]}},
        "metrics": {"search": [{"epoch": 0}, {"epoch": 1, "probabilities": shares}, {"epoch": 2}]},
        "architecture": network,
        "resolution": 32,
        "num_classes": 10,
        "weights_bytes": None,
    }
    return RunFacts(**(given | changes))


def cells(html: str) -> list[list[str]]:
    """Text of each row of the tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub("<.*?>", "", c) for c in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)] for row in rows]


def test_what_was_taken_beside_what_was_more_probable(tmp_path):
    html = report_choice.choice(facts(tmp_path))
    head, *rows = cells(html)
    assert head == ["block", "taken", "probability", "most probable other", "latency, from the table"]
    first, second = (CHOICES[0].operations[k].name for k in (0, 1))
    # The second candidate of block b costs 2·b ms.
    assert rows[0] == ["1", second, "30%", f"{first}, 60%", "2 ms"]
    assert [row[4] for row in rows] == [f"{2 * (b + 1)} ms" for b in range(len(CHOICES))]
    widths = [int(w) for w in re.findall(r"width:(\d+)px", html)]
    assert widths == sorted(widths) and widths[0] * len(CHOICES) == pytest.approx(widths[-1], abs=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {}},
        {"settings": {"search": {"space": "of another version"}}},
        {"metrics": {"search": []}},
        {"architecture": None},
        # A network that was given in place of the searched one.
        {"architecture": SMALL.architecture(tuple(c.operations[-1] for c in SMALL.choices(32)))},
        {"metrics": {"search": [{"probabilities": [[1.0]]}]}},
    ],
)
def test_no_choice_is_shown_that_was_not_made(tmp_path, changes):
    assert report_choice.choice(facts(tmp_path, **changes)) == ""


def test_losses_of_the_steps_add_up(tmp_path):
    summaries = {
        "finetune": {"float_top1": 0.75, "qat_top1": 0.74, "agreement": 0.96875, "snr_db": 25.04},
        "evaluate": {"qat": {"top1": 0.74}, "int8": {"top1": 0.7425}},
        "convert": {"checked_images": 16, "checked_snr_db": None},
    }
    _, *rows = cells(report_quantization.quantization(facts(tmp_path, summaries=summaries)))
    assert rows == [
        ["fake quantization, against float", "-1.00 points", "96.88%", "25.0 dB"],
        ["the file, against fake quantization", "+0.25 points", "—", "all logits equal"],
    ]
    assert report_quantization.quantization(facts(tmp_path)) == ""


def test_the_weakest_classes_come_first():
    per_class = [
        {"label": f"<{i}>", "examples": 10 + i, "top1": top1} for i, top1 in enumerate((0.9, 0.5, 0.7))
    ]
    html = report_origin.classes(per_class)
    assert cells(html)[1:] == [
        ["&lt;1&gt;", "11", "50.0%"],
        ["&lt;2&gt;", "12", "70.0%"],
        ["&lt;0&gt;", "10", "90.0%"],
    ]
    assert "(3 of 3)" in html and report_origin.classes([]) == ""


def test_commands_versions_and_seeds_to_repeat_it(tmp_path):
    def line(date, stage, command, version):
        return {"date": date, "stage": stage, "command": command, "versions": {"tensorflow": version}}

    lines = [
        line("2020-01-01T10:00:00+00:00", "search", "nas-tf search --seed=3 <x>", "2.19"),
        line("2020-01-01T11:00:00+00:00", "search", "nas-tf search --seed=3 <x>", "2.19"),
        line("2020-01-02T10:00:00+00:00", "train", "nas-tf train", "2.20"),
    ]
    (tmp_path / FILE).write_text("\n".join(map(json.dumps, lines)))
    settings = {"search": {"seed": 3, "costs": [["latency_ms", 0.0, [[1.0]]]]}, "train": {"seed": 4}}
    html = report_origin.repeat(facts(tmp_path, settings=settings))
    assert html.count("nas-tf search") == 1 and "--seed=3 &lt;x&gt;" in html
    assert html.index("# 2020-01-01T10:00:00+00:00: search\n") < html.index(
        "# 2020-01-02T10:00:00+00:00: train\n"
    )
    assert "Versions, which changed in between: tensorflow 2.19; then tensorflow 2.20." in html
    assert "Seeds: search 3, train 4." in html
    assert "Settings of train" in html and "costs" not in html


def test_bars_are_in_proportion():
    assert report_page.bar(1.0, 4.0, "<1>") == '<span class="bar" style="width:40px"></span>&lt;1&gt;'
    assert "width:0px" in report_page.bar(0.0, 0.0, "none")
    # Text of a file stays text, also where it looks like a bar.
    assert "<span" not in report_page.table(("what",), [("<span>",)])
