"""How a saving appears out of nothing."""

from __future__ import annotations

import time

from studies import once


def test_a_saving_is_what_the_second_call_took_less():
    seconds = iter([0.0, 0.02, 0.01, 0.01, 0.03])  # the first call is not timed

    def function():
        time.sleep(next(seconds))

    first, second = once.savings(function, 2)
    assert 0.2 < first < 0.7
    assert second < -0.5


def test_the_study_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(once, "N_CASES", 2)
    monkeypatch.setattr(once, "MAX_TIME_S", 0.5)
    assert once.main(["--pairs", "3", "--busy", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 pairs, each pass timed once" in out
    assert "in turns, " in out
