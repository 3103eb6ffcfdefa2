"""How a saving appears out of nothing."""

from __future__ import annotations

from studies import once


def test_a_saving_is_what_the_second_call_took_less(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(once.time, "perf_counter", lambda: now_s[0])
    seconds = iter([7.0, 2.0, 1.0, 1.0, 3.0])  # the first call is not timed

    def function():
        now_s[0] += next(seconds)

    assert once.savings(function, 2) == (0.5, -2.0)


def test_the_study_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(once, "MAX_TIME_S", 0.5)
    assert once.main(["--pairs", "3", "--cases", "2", "--busy", "1"]) == 0
    out = capsys.readouterr().out
    assert "3 pairs, each pass timed once" in out
    assert "in turns, " in out
