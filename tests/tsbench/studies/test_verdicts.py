"""Each claim of the paper, settled by a saved run's figures."""

from __future__ import annotations

import pytest

from studies import verdicts
from studies.paper import CLAIMS, CSV_HEADINGS

STATIC = CLAIMS[0]


def row(data="PLAID", batch="1", variant="int8_static", low="1.5", high="1.6", value="1.55"):
    ratios = {
        f"{name}{end}": figure
        for name in ("speedup", "greenup")
        for end, figure in (("", value), ("_low", low), ("_high", high))
    }
    known = {"data": data, "config": "t1", "batch": batch, "variant": variant, **ratios}
    return {**dict.fromkeys(CSV_HEADINGS, ""), **known}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ("1.42", "1.6", "confirmed"),
        ("1.2", "1.4", "contradicted"),
        ("1.3", "1.5", "cannot be said"),
    ],
)
def test_the_whole_interval_decides(low, high, said):
    assert verdicts.verdict(STATIC, row(low=low, high=high)) == said


def test_without_joules_a_claim_about_energy_cannot_be_said():
    assert verdicts.verdict(STATIC, row(value="")) == "cannot be said"


def test_each_dataset_has_a_verdict(tmp_path, capsys):
    rows = [
        row(),
        row(batch="32"),
        row("RefrigerationDevices"),
        row("RefrigerationDevices", "32", low="1.0", high="1.1"),
    ]
    file = tmp_path / "paper.csv"
    lines = [
        ",".join(CSV_HEADINGS),
        *(",".join(each[key] for key in CSV_HEADINGS) for each in rows),
    ]
    file.write_text("\n".join(lines))
    assert verdicts.main([str(file)]) == 0
    (line,) = (each for each in capsys.readouterr().out.splitlines() if "`int8_static`" in each)
    assert line.endswith(
        "| confirmed | batch 1: confirmed; batch 32: contradicted | cannot be said: not measured |"
    )
