"""Counted work as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_energy.model import CountedWork, Result
from pytest_energy.report.escape import plain
from pytest_energy.report.units import digits
from pytest_energy.stats.si_prefixes import scale_for


def work_lines(results: Sequence[Result]) -> Iterator[str]:
    """The tool once, then a line for each test that was counted or could not be."""
    known = [(result, result.counted) for result in results if result.counted is not None]
    tools = {each.candidate.tool for _, each in known if each.candidate is not None}
    if not known:
        return
    yield f"counted work per call, by {', '.join(sorted(tools)) or 'nothing'}; not joules"
    for result, counted in known:
        name = plain(result.name.split("::", 1)[-1])
        if counted.candidate is None:
            yield f"  {name}: {plain(counted.reason)}"
            continue
        text = _instructions(counted.candidate)
        if counted.baseline is not None:
            text = f"{_instructions(counted.baseline)} → {text}"
        notes = "".join(f"; {plain(note)}" for note in counted.candidate.notes)
        yield f"  {name}: {text}, ± {counted.candidate.spread:.2%}{notes}"
        yield from _disagreement(result)


def _disagreement(result: Result) -> Iterator[str]:
    """A line where time and counted work come out differently."""
    verdicts = {verdict.metric: verdict.verdict for verdict in result.verdicts}
    time, work = verdicts.get("speedup"), verdicts.get("work")
    if time != work and {time, work} <= {"regressed", "unchanged", "improved"}:
        yield (
            f"    time is {time}, and counted work {work}: the difference is waiting, memory "
            "bandwidth, vector width or a GPU"
        )


def _instructions(work: CountedWork) -> str:
    factor, unit = scale_for([work.instructions], " instructions")
    return f"{digits(work.instructions * factor)} {unit.strip()}"
