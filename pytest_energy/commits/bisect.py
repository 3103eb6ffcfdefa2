"""Find the commit that costs more, by live comparisons between a good and a bad commit.

Each step compares the middle commit of the range with the good one (against.py). It is good or bad
by the side of the middle between both figures on which its ratio lies. This takes a quarter of the
blocks that a proof of a difference takes. If more time gives no answer, a neighbour is compared.
Commits that measurements cannot separate are printed as a range. One commit is assumed to have made
the difference. Git's own state (HEAD, index, branches, bisect) does not change.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_energy.commits.against import Against
from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.git import find_repo, git, resolve
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.version_files import copy_missing, version_files
from pytest_energy.commits.worker_arguments import (
    PASSED_ON,
    CommandLine,
    commit_side,
    split_command_line,
)
from pytest_energy.commits.worker_process import ReplicateFailed
from pytest_energy.errors import OptionError
from pytest_energy.meters import info, open_meter
from pytest_energy.model import Comparison, Interval, MeterInfo
from pytest_energy.options import Options
from pytest_energy.plan import Plan
from pytest_energy.stats.gps_up import GpsUp
from pytest_energy.verdicts import count_blocks, joules_not_gated

# An undecided comparison may take this many times the usual time; a decided one stops at once.
PATIENCE = 4

PrintLine = Callable[[str], object]


@dataclass(frozen=True)
class Culprit:
    """The result of a bisection: one commit, or a range that cannot be split."""

    test: str
    metric: str
    ratio: Interval
    """Good commit against the bad one."""
    suspects: tuple[str, ...]
    """Full hashes, oldest first; one of them made the change."""


@dataclass(frozen=True)
class Question:
    """The question that each commit answers: one test, one metric, the log-ratio in the middle."""

    test: str
    metric: str
    middle: float

    def side(self, ratios: GpsUp | Comparison) -> str | None:
        """``good`` or ``bad``, or None if the interval contains the middle."""
        ratio = getattr(ratios, self.metric)
        if ratio is None:
            return None
        if ratio.low > math.exp(self.middle):
            return "good"
        return "bad" if ratio.high < math.exp(self.middle) else None


class Bisection:
    """The comparisons with the good commit."""

    def __init__(
        self,
        folder: Path,
        good: str,
        command_line: CommandLine,
        options: Options,
        print_line: PrintLine,
    ):
        self.repo = find_repo(folder)
        self.good = resolve(self.repo, good)
        self._folder, self._options, self._print_line = folder.resolve(), options, print_line
        self._command_line = command_line
        with open_meter(options.meter, options.meter_settings) as meter:
            self._meter: MeterInfo = info(meter)

    @property
    def metric(self) -> str:
        """Energy if a sensor counts it, else time: an estimate is computed from time."""
        not_gated = joules_not_gated(self._meter.provenance, self._options.gate_estimates)
        return "speedup" if not_gated else "greenup"

    def commits_until(self, bad: str) -> list[str]:
        """The commits after the good one up to the bad one, oldest first, along first parents."""
        return commits_until(self.repo, self.good, bad)

    def worst(self, bad: str) -> tuple[str, Comparison]:
        """The test that the bad commit made worse the most. Raises `OptionError` if none is."""
        seen: dict[str, Comparison] = {}
        with self._against(bad) as against:
            for name in sorted(against.names.paired):
                try:
                    seen[name] = self._compare(against, name, self._regressed)
                except ReplicateFailed as error:
                    self._print_line(f"{name}: not compared: {error}")
        if not seen:
            raise OptionError(f"no measuring test is in both {self.good[:12]} and {bad[:12]}")
        worse = {
            name: comparison for name, comparison in seen.items() if self._regressed(comparison)
        }
        if not worse:
            figures = ", ".join(
                f"{name}: {self.metric} {self._show(c)}" for name, c in seen.items()
            )
            raise OptionError(
                f"{bad[:12]} is not surely worse than {self.good[:12]}: {figures}; "
                "there is nothing to bisect"
            )
        name = min(worse, key=lambda name: getattr(worse[name], self.metric).value)
        return name, worse[name]

    def side(self, commit: str, question: Question) -> str | None:
        """``good`` or ``bad``; None if more time decides nothing, or the test does not run."""
        try:
            with self._against(commit) as against:
                if question.test not in against.names.paired:
                    self._print_line(f"  {commit[:12]}: has no such test")
                    return None
                comparison = self._compare(
                    against, question.test, lambda ratios: question.side(ratios) is not None
                )
        except (OptionError, ReplicateFailed) as error:
            self._print_line(f"  {commit[:12]}: not compared: {error}")
            return None
        side = question.side(comparison)
        self._print_line(
            f"  {commit[:12]}: {side or 'undecided'}: {self.metric} {self._show(comparison)}, "
            f"{count_blocks(comparison.blocks)}"
        )
        return side

    def _compare(self, against: Against, name: str, decided: Callable[[GpsUp], bool]) -> Comparison:
        plan: Plan = self._options.plan
        # One longer comparison, and not a second one: the intervals hold at any stopping time.
        longer = replace(plan, max_time_s=plan.max_time_s * PATIENCE)
        return against.compare(name, self._meter, longer, decided)

    def _regressed(self, ratios: GpsUp | Comparison) -> bool:
        ratio = getattr(ratios, self.metric)
        return ratio is not None and ratio.high < 1 / (1 + self._options.plan.tolerance)

    def _show(self, comparison: Comparison) -> str:
        ratio = getattr(comparison, self.metric)
        return (
            "unknown" if ratio is None else f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        )

    @contextmanager
    def _against(self, commit: str) -> Iterator[Against]:
        with Janitor() as janitor:
            sides = {}
            for letter, revision in (("A", self.good), ("B", commit)):
                checkout = check_out(self.repo, revision, janitor.folder / letter)
                copy_missing(version_files(self.repo), self.repo, checkout.path)
                sides[letter] = commit_side(
                    checkout, revision[:12], self._folder, self._command_line, None
                )
            with Against(commit[:12], sides, janitor).started() as against:
                yield against


def commits_until(repo: Path, good: str, bad: str) -> list[str]:
    """From after the good commit to the bad one, oldest first, along first parents.

    Raises `OptionError` where the good one is no ancestor.
    """
    bad = resolve(repo, bad)

    def first_parents(*revisions: str) -> list[str]:
        listed = git(repo, "rev-list", "--first-parent", *revisions, problem="git lists no history")
        return listed.split()

    commits = first_parents("--reverse", f"{good}..{bad}")
    if good not in first_parents(bad) or not commits:
        raise OptionError(
            f"{good[:12]} is not an ancestor of {bad[:12]} along first parents: "
            "there is nothing to bisect"
        )
    return commits


def worker_command_line(arguments: Sequence[str], addopts: Sequence[str]) -> CommandLine:
    """Parse the project's ``addopts``, PYTEST_ADDOPTS and these arguments for pytest.

    Raises `OptionError` if the arguments contain an option that workers do not take.
    """
    given = split_command_line(arguments, PASSED_ON)
    for name, _ in given.options:
        if name not in PASSED_ON:
            raise OptionError(
                f"bisect does not pass {name} on to pytest; it passes {', '.join(PASSED_ON)}"
            )
    environment = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    options = [
        option
        for added in (addopts, environment)
        for option in split_command_line(added, PASSED_ON).options
        if option[0] in PASSED_ON
    ]
    return CommandLine((*options, *given.options), given.paths)


def bisect(
    folder: Path,
    good: str,
    bad: str,
    command_line: CommandLine,
    options: Options,
    print_line: PrintLine,
) -> Culprit:
    """Name the commit between ``good`` and ``bad`` that made a test worse, or a range of commits.

    Raises `OptionError` if there is nothing to bisect.
    """
    search = Bisection(folder, good, command_line, options, print_line)
    commits = search.commits_until(bad)
    print_line(f"{len(commits)} commits between {search.good[:12]} and {commits[-1][:12]}")
    name, worst = search.worst(commits[-1])
    ratio: Interval = getattr(worst, search.metric)
    print_line(
        f"{name}: {search.metric} {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] "
        "from the good commit to the bad one"
    )
    question = Question(name, search.metric, math.log(ratio.value) / 2)
    suspects = split(commits, lambda commit: search.side(commit, question))
    return Culprit(name, search.metric, ratio, suspects)


def split(commits: Sequence[str], side: Callable[[str], str | None]) -> tuple[str, ...]:
    """The commits of which one made the change. The last is known to be bad, and the one before
    the first to be good.

    >>> split("abcdefgh", lambda commit: "bad" if commit >= "f" else "good")
    ('f',)
    >>> split("abcdefgh", lambda c: None if c in "ef" else "bad" if c > "f" else "good")
    ('e', 'f', 'g')
    """
    suspects = list(commits)
    undecided: set[str] = set()
    while True:
        middle = (len(suspects) - 1) // 2
        # The last suspect is known to be bad. A commit near the middle halves the range.
        open_ = [place for place in range(len(suspects) - 1) if suspects[place] not in undecided]
        if not open_:
            return tuple(suspects)
        place = min(open_, key=lambda place: abs(place - middle))
        answer = side(suspects[place])
        if answer == "bad":
            suspects = suspects[: place + 1]
        elif answer == "good":
            suspects = suspects[place + 1 :]
        else:
            undecided.add(suspects[place])
