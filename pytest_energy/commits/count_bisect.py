"""Which commit does more work: halves the history by counts, which no neighbour moves.

Each commit is counted once, alone: counts of different times are comparable. Git's own state stays
as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from pytest_energy.commits.bisect import Culprit, PrintLine, commits_until, split
from pytest_energy.commits.checkout import check_out
from pytest_energy.commits.counted import CountSettings, count_sides
from pytest_energy.commits.git import find_repo, resolve
from pytest_energy.commits.janitor import Janitor
from pytest_energy.commits.worker_arguments import CommandLine, commit_side
from pytest_energy.counting.available import counting_tool
from pytest_energy.errors import CountingUnavailable, OptionError
from pytest_energy.model import Counted, CountedWork
from pytest_energy.options import Options
from pytest_energy.verdicts import work_ratio


class CountBisection:
    """The counts of each commit."""

    def __init__(
        self, folder: Path, command_line: CommandLine, options: Options, print_line: PrintLine
    ):
        self.repo = find_repo(folder)
        self._folder, self._command_line = folder.resolve(), command_line
        self._print_line = print_line
        try:
            tool, simulate = counting_tool()
        except CountingUnavailable as error:
            raise OptionError(f"--count: {error}") from None
        print_line(f"counting with {tool}")
        self._settings = CountSettings(
            options.count_timeout_s, options.count_tolerance, simulate, None
        )

    def count(self, commit: str, test: str = "") -> dict[str, CountedWork]:
        """The counted work of a commit: of one test, or of all. Raises `OptionError`."""
        try:
            with Janitor() as janitor:
                checkout = check_out(self.repo, commit, janitor.folder / "A")
                side = commit_side(checkout, commit[:12], self._folder, self._command_line, None)
                if test:
                    side = replace(side, paths=side.paths or (test.partition("::")[0],))
                [found] = count_sides([side], [test] if test else [], self._settings, janitor)
        except CountingUnavailable as error:
            raise OptionError(f"{commit[:12]}: {error}") from None
        self._print_failed(commit, found)
        return {name: each.candidate for name, each in found.items() if each.candidate is not None}

    def _print_failed(self, commit: str, found: dict[str, Counted]) -> None:
        for name, each in found.items():
            if each.candidate is None:
                self._print_line(f"  {commit[:12]}: {name}: {each.reason}")


def bisect_counts(
    folder: Path,
    good: str,
    bad: str,
    command_line: CommandLine,
    options: Options,
    print_line: PrintLine,
) -> Culprit:
    """Name the commit between ``good`` and ``bad`` after which a test does more work.

    Raises `OptionError` where there is nothing to bisect.
    """
    search = CountBisection(folder, command_line, options, print_line)
    good = resolve(search.repo, good)
    commits = commits_until(search.repo, good, bad)
    print_line(f"{len(commits)} commits between {good[:12]} and {commits[-1][:12]}")
    before, after = search.count(good), search.count(commits[-1])
    ratios = {name: work_ratio(before[name], after[name]) for name in after if name in before}
    if not ratios:
        raise OptionError(f"no counted test is in both {good[:12]} and {commits[-1][:12]}")
    name = min(ratios, key=lambda name: ratios[name].value)
    ratio, limit = ratios[name], 1 / (1 + options.count_tolerance)
    if not ratio.high < limit:
        figures = ", ".join(f"{name}: work {each.as_change():%}" for name, each in ratios.items())
        raise OptionError(
            f"{commits[-1][:12]} does not surely do more work than {good[:12]}: {figures}; "
            "there is nothing to bisect"
        )
    print_line(f"{name}: work {ratio.as_change():%} from the good commit to the bad one")
    middle = math.sqrt(ratio.value)

    def side(commit: str) -> str | None:
        try:
            work = search.count(commit, name).get(name)
        except OptionError as error:
            print_line(f"  {commit[:12]}: not counted: {error}")
            return None
        if work is None:
            return None
        found = work_ratio(before[name], work)
        word = "good" if found.low > middle else "bad" if found.high < middle else None
        print_line(f"  {commit[:12]}: {word or 'undecided'}: work {found.as_change():%}")
        return word

    return Culprit(name, "work", ratio, split(commits, side))
