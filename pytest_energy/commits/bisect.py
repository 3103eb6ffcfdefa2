"""Which commit made it burn more: the history between a good and a bad commit, halved by live comparisons.

Each step compares a commit with the good one (against.py), and asks on which side of the middle between the good and the bad
commit's figures it lies: a question twice as easy as whether it differs from the good one at all. Where that
cannot be told even with more time, its neighbours are asked. What cannot be split is named as a range.
It is taken that one commit made the difference; git's own state (HEAD, index, branches, bisect) is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_energy.commits.against import Against, workers_of
from pytest_energy.commits.worker_arguments import place_there
from pytest_energy.commits.worktree import checked_out, find_repo, git, resolve
from pytest_energy.errors import OptionError
from pytest_energy.meters import info, open_meter
from pytest_energy.model import Comparison, Interval, MeterInfo
from pytest_energy.options import Options
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import GpsUp, extent

# A comparison may take this many times the usual time where it is unsure; where it is sure it stops at once.
PATIENCE = 4

Say = Callable[[str], object]


@dataclass(frozen=True)
class Found:
    """What the bisection names: one commit, or the range that could not be split."""

    test: str
    metric: str
    ratio: Interval
    """Good commit against the bad one."""
    suspects: tuple[str, ...]
    """Full hashes, oldest first; the change is in one of them."""


@dataclass(frozen=True)
class Trial:
    """What is asked of each commit: one test, one metric, and the log-ratio in the middle."""

    test: str
    metric: str
    middle: float

    def side(self, ratios: GpsUp | Comparison) -> str | None:
        """``good`` or ``bad``, or None where the interval holds the middle."""
        ratio = getattr(ratios, self.metric)
        if ratio is None:
            return None
        if ratio.low > math.exp(self.middle):
            return "good"
        return "bad" if ratio.high < math.exp(self.middle) else None


class Bisection:
    """The comparisons with the good commit."""

    def __init__(
        self, folder: Path, good: str, arguments: Sequence[str], options: Options, say: Say
    ):
        self.repo = find_repo(folder)
        self.good = resolve(self.repo, good)
        self._folder, self._arguments, self._options, self._say = folder, arguments, options, say
        with open_meter(options.meter, options.meter_settings) as meter:
            self._meter: MeterInfo = info(meter)

    @property
    def metric(self) -> str:
        """Energy, where a sensor counts it; else time, of which an estimate is only an image."""
        estimated = self._meter.provenance == "estimated" and not self._options.gate_estimates
        return "speedup" if estimated else "greenup"

    def commits_until(self, bad: str) -> list[str]:
        """From after the good commit to the bad one, oldest first, along first parents."""
        bad = resolve(self.repo, bad)
        listed = git(
            self.repo,
            "rev-list",
            "--reverse",
            "--first-parent",
            f"{self.good}..{bad}",
            problem="no history",
        ).split()
        parents = git(self.repo, "rev-list", "--first-parent", bad, problem="no history").split()
        if self.good not in parents or not listed:
            raise OptionError(
                f"{self.good[:12]} is not an ancestor of {bad[:12]} along first parents: there is nothing to bisect"
            )
        return listed

    def worst(self, bad: str) -> tuple[str, Comparison]:
        """The test that the bad commit made worst, surely. Raises `OptionError` where it made none worse."""
        with self._against(bad) as against:
            seen = {
                name: self._compare(against, name, self._regressed)
                for name in sorted(against.names.paired)
            }
        if not seen:
            raise OptionError(f"no measuring test is in both {self.good[:12]} and {bad[:12]}")
        worse = {name: c for name, c in seen.items() if self._regressed(c)}
        if not worse:
            figures = ", ".join(
                f"{name}: {self.metric} {self._show(c)}" for name, c in seen.items()
            )
            raise OptionError(
                f"{bad[:12]} is not surely worse than {self.good[:12]}: {figures}; there is nothing to bisect"
            )
        name = min(worse, key=lambda name: getattr(worse[name], self.metric).value)
        return name, worse[name]

    def side(self, commit: str, trial: Trial) -> str | None:
        """On which side a commit lies; None where even more time did not tell, or it could not be run."""
        with self._against(commit) as against:
            if trial.test not in against.names.paired:
                self._say(f"  {commit[:12]}: has no such test")
                return None
            comparison = self._compare(
                against, trial.test, lambda ratios: trial.side(ratios) is not None
            )
        side = trial.side(comparison)
        self._say(
            f"  {commit[:12]}: {side or 'cannot tell'}: {self.metric} {self._show(comparison)}, {extent(comparison.blocks)}"
        )
        return side

    def _compare(self, against: Against, name: str, decided: Callable[[GpsUp], bool]) -> Comparison:
        plan: Plan = self._options.plan
        # One comparison with more time, and not a second one: the intervals hold at any stopping time.
        return against.compare(
            name, self._meter, replace(plan, max_time_s=plan.max_time_s * PATIENCE), decided
        )

    def _regressed(self, ratios: GpsUp | Comparison) -> bool:
        ratio = getattr(ratios, self.metric)
        return ratio is not None and ratio.high < 1 / (1 + self._options.plan.tolerance)

    def _show(self, comparison: Comparison) -> str:
        ratio = getattr(comparison, self.metric)
        return (
            "not known"
            if ratio is None
            else f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        )

    @contextmanager
    def _against(self, commit: str) -> Iterator[Against]:
        with ExitStack() as stack:
            places = {}
            for letter, revision in (("A", self.good), ("B", commit)):
                tree = stack.enter_context(checked_out(self.repo, revision))
                places[letter] = place_there(
                    tree, revision[:12], self._folder, self._arguments, None
                )
            yield Against(commit[:12], stack.enter_context(workers_of(places)))


def bisect(
    folder: Path, good: str, bad: str, arguments: Sequence[str], options: Options, say: Say
) -> Found:
    """Name the commit between ``good`` and ``bad`` that made a test worse, or the range that cannot be split.

    Raises `OptionError` where there is nothing to bisect.
    """
    search = Bisection(folder, good, arguments, options, say)
    commits = search.commits_until(bad)
    say(f"{len(commits)} commits between {search.good[:12]} and {commits[-1][:12]}")
    name, worst = search.worst(commits[-1])
    ratio: Interval = getattr(worst, search.metric)
    say(
        f"{name}: {search.metric} {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] from the good commit to the bad one"
    )
    trial = Trial(name, search.metric, math.log(ratio.value) / 2)
    return Found(
        name, search.metric, ratio, split(commits, lambda commit: search.side(commit, trial))
    )


def split(commits: Sequence[str], side: Callable[[str], str | None]) -> tuple[str, ...]:
    """The commits of which one made the change; the last one is known to be bad, and what is before the first, good.

    >>> split("abcdefgh", lambda commit: "bad" if commit >= "f" else "good")
    ('f',)
    >>> split("abcdefgh", lambda commit: None if commit in "ef" else "bad" if commit > "f" else "good")
    ('e', 'f', 'g')
    """
    suspects = list(commits)
    unsure: set[str] = set()
    while True:
        middle = (len(suspects) - 1) // 2
        # The last suspect is bad already. The nearer to the middle, the more an answer tells.
        askable = [place for place in range(len(suspects) - 1) if suspects[place] not in unsure]
        if not askable:
            return tuple(suspects)
        place = min(askable, key=lambda place: abs(place - middle))
        answer = side(suspects[place])
        if answer == "bad":
            suspects = suspects[: place + 1]
        elif answer == "good":
            suspects = suspects[place + 1 :]
        else:
            unsure.add(suspects[place])
