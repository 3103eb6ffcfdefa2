"""This tree against another commit, live: ``--energy-against REV``.

Both sides run in workers (worker.py), each in its own process, from its own folder; the commit's from a worktree
(worktree.py). A replicate is a fork of both, and ABBA or BAAB blocks of short windows, never at the same time; it counts
once, by the median of its blocks. Two pairs of workers take turns, so that what one process got by luck (where its
memory lies) is not taken for the commit's.
"""

from __future__ import annotations

import random
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count, cycle
from pathlib import Path
from typing import Any

from pytest_energy.commits.channel import Channel, ChannelClosed, ChannelTimeout
from pytest_energy.commits.worker_arguments import Place, place_here, place_there
from pytest_energy.commits.worktree import checked_out, environment, find_repo
from pytest_energy.errors import EnergyError, OptionError
from pytest_energy.measuring.paired import Decided, comparison_of, match_calls, take_blocks
from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo, Window
from pytest_energy.plan import Plan, Step
from pytest_energy.runs.json_format import window_from_json

# What a worker imports: this package, as it is here.
PACKAGE = Path(__file__).parents[1]
PAIRS = 2
# Two forks with their warm-up cost about 0.1 s. Windows of 0.2 s leave a third of the time to that, and 16 starts in 5 s; 11 are
# the fewest that tell anything.
REPLICATE_S = 0.2
WARM_UP_S = 0.03
# Limits of waiting. Collecting imports the code; setting up may train or compile; a window lasts tens of milliseconds,
# or one call.
COLLECT_LIMIT_S, SET_UP_LIMIT_S, READY_LIMIT_S, WINDOW_LIMIT_S, LEAVE_LIMIT_S = (
    300.0,
    1800.0,
    120.0,
    600.0,
    10.0,
)
# Names this alike are taken for one test renamed: below, two parametrizations of one test already match.
RENAMED_LIKENESS = 0.8

# Loads our package, and nothing else of its folder: the worker may belong to another environment, and the code under
# test may be another version of this very package.
BOOTSTRAP = """
import importlib.util, sys
folder, descriptor = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location("pytest_energy", folder + "/__init__.py", submodule_search_locations=[folder])
module = sys.modules["pytest_energy"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from pytest_energy.plugin.worker import main
main(descriptor)
"""


class ReplicateFailed(EnergyError):
    """A worker could not run a test: whose, and why."""


class WorkerProcess:
    """One side's long-lived process."""

    def __init__(self, place: Place):
        self.place = place
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the worker
        with theirs:
            self._process = subprocess.Popen(
                [place.python, "-c", BOOTSTRAP, str(PACKAGE), str(theirs.fileno())],
                cwd=place.folder,
                env=environment() | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the main process, whose end ends this one
            )
        self._channel.send(
            folder=str(place.folder), arguments=place.arguments, paths=place.paths, outside=place.outside
        )  # fmt: skip
        self.collected: tuple[str, ...] = ()
        self._forked = False

    def wait_until_collected(self) -> None:
        """Raises `OptionError` where the worker cannot collect, or collects the wrong code."""
        try:
            message = self._channel.receive(COLLECT_LIMIT_S)
        except (ChannelClosed, ChannelTimeout) as error:
            raise OptionError(
                f"{self.place.label}: {error}; its last words:\n{self.last_words()}"
            ) from None
        if "collected" not in message:
            self.collected = ()  # pytest ended before its loop: nothing to collect there
            if message.get("ended") not in (0, 4, 5):
                raise OptionError(
                    f"{self.place.label}: pytest ended with {message.get('ended')}:\n{self.last_words()}"
                )
            return
        if message["errors"]:
            raise OptionError(
                f"{self.place.label}: tests cannot be collected: " + "\n".join(message["errors"])
            )
        if message["foreign"]:
            raise OptionError(
                f"{self.place.label}: code came from your own tree instead: {', '.join(message['foreign'][:3])}; "
                "its installation points there: install it in another environment, and name that with --energy-against-python"
            )
        self.collected = tuple(message["collected"])

    @contextmanager
    def replicate(self, name: str) -> Iterator[Replicate]:
        """A fresh fork that stands at the test's measurement."""
        self._channel.send(id=name, budget_s=WARM_UP_S)
        self.ask({"set_up"}, SET_UP_LIMIT_S)
        ready = self.ask({"ready"}, READY_LIMIT_S)
        self._forked = True
        try:
            yield Replicate(self, ready["ready"], ready["cpu"])
        finally:
            # Also where the other side failed: a fork left standing would take the next test's start for its own.
            if self._forked:
                self.ask({"gone"}, WINDOW_LIMIT_S, do="dismiss")
                self._forked = False

    def ask(self, wanted: set[str], limit_s: float, **request: Any) -> Mapping[str, Any]:
        """Send ``request``, if any, and wait for the answer. Raises `ReplicateFailed`, and then the fork is gone."""
        try:
            if request:
                self._channel.send(**request)
            answer = self._channel.receive(limit_s)
        except (ChannelClosed, ChannelTimeout) as error:
            self._forked = False
            raise ReplicateFailed(
                f"{self.place.label}: {error}; its last words: {self.last_words()}"
            ) from None
        if wanted & answer.keys():
            return answer
        self._forked = False
        if "failed" in answer:
            self._channel.receive(WINDOW_LIMIT_S)  # gone
            raise ReplicateFailed(f"{self.place.label}: {answer['failed']}")
        raise ReplicateFailed(
            f"{self.place.label}: the worker died with status {answer.get('gone')}: {self.last_words()}"
        )

    def last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].strip() or "none"

    def leave(self) -> None:
        """Ask the worker to end, and see that it does."""
        self._channel.close()
        try:
            self._process.wait(LEAVE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@dataclass(frozen=True)
class Replicate:
    """A forked worker, at the measurement."""

    worker: WorkerProcess
    seconds_per_call: float
    cpu: int | None
    """Where it runs; None where it is more than one thread's work, or the system does not tell."""

    def stay_on(self, cpu: int) -> None:
        self.worker.ask({"stays"}, WINDOW_LIMIT_S, do="stay", cpu=cpu)

    def calls_per_window(self) -> int:
        return int(self.worker.ask({"calls"}, WINDOW_LIMIT_S, do="calibrate")["calls"])

    def window(self, calls: int, meter: MeterInfo, plan: Plan) -> Window:
        answer = self.worker.ask({"window"}, WINDOW_LIMIT_S, do="window", calls=calls)
        for reason in answer.get("void", ()):  # an older commit of ours does not tell
            plan.void(reason)
        return window_from_json(answer["window"], meter, 1)


@dataclass(frozen=True)
class Names:
    """What became of the tests between the two commits."""

    paired: frozenset[str]
    new: tuple[str, ...]
    vanished: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """(then, now), by likeness of the names: a hint, and not compared."""


class Against:
    """Pairs of workers, and the comparison of one test through them."""

    def __init__(self, label: str, pairs: Sequence[Mapping[str, WorkerProcess]]):
        self.label = label
        self._pairs = cycle(pairs)
        self._coin = random.Random()
        self.names = pair_names(pairs[0]["A"].collected, pairs[0]["B"].collected)

    def compare(self, name: str, meter: MeterInfo, plan: Plan, decided: Decided) -> Comparison:
        """One test, block by block, until ``decided`` or the time is used up. Raises `ReplicateFailed`."""
        calls: dict[str, int] = {}
        numbers = count()
        blocks = take_blocks(
            lambda: self._replicate(name, next(numbers), meter, calls, plan), meter, plan, decided
        )
        return comparison_of(self.label, blocks, meter, plan.alpha)

    def _replicate(
        self, name: str, number: int, meter: MeterInfo, calls: dict[str, int], plan: Plan
    ) -> list[Block]:
        """The blocks of one fork of each side."""
        pair = next(self._pairs)
        first = self._coin.choice(ORDERS)
        plan.tell(Step("starts"))
        with ExitStack() as stack:
            forks = {
                letter: stack.enter_context(pair[letter].replicate(name)) for letter in first[:2]
            }
            cpus = [fork.cpu for fork in forks.values() if fork.cpu is not None]
            if len(cpus) == len(forks):
                # Else each keeps to a CPU of its own, and whose has the busier neighbour is the slower one all along: ratios
                # of 24 starts of the same code spread by 25 % (SD) so, and by 2 % on one CPU. The system chose it: an idle one.
                for fork in forks.values():
                    fork.stay_on(cpus[-1])
            if not calls:
                plan.tell(Step("calibration"))
                needed = {letter: fork.calls_per_window() for letter, fork in forks.items()}
                calls.update(
                    match_calls(
                        needed, {letter: fork.seconds_per_call for letter, fork in forks.items()}
                    )
                )

            plan.tell(Step("blocks"))

            def block(order: str) -> Block:
                return Block(
                    order,
                    tuple(forks[letter].window(calls[letter], meter, plan) for letter in order),
                    number,
                )

            blocks = [block(first)]
            pairs = int(REPLICATE_S / sum(window.seconds for window in blocks[0].windows) / 2)
            # Each order as often as the other: the second of two windows in a row has warm caches, and is up to 8 % faster.
            orders = list(ORDERS) * pairs
            if orders:
                orders.remove(first)
                self._coin.shuffle(orders)
            return blocks + [block(order) for order in orders]


@contextmanager
def start(
    revision: str, folder: Path, arguments: Sequence[str], python: str | None
) -> Iterator[Against]:
    """Check ``revision`` out, and start both sides' workers. Raises `OptionError`."""
    repo = find_repo(folder)
    with checked_out(repo, revision) as worktree:
        label = f"{revision} ({worktree.commit[:12]})"
        places = {
            "A": place_there(worktree, label, folder, arguments, python),
            "B": place_here(repo, folder, arguments),
        }
        with workers_of(places) as pairs:
            yield Against(label, pairs)


def pair_names(then: Sequence[str], now: Sequence[str]) -> Names:
    """Which tests there are in both, in one only, and which may have been renamed."""
    new = [name for name in now if name not in set(then)]
    vanished = [name for name in then if name not in set(now)]
    renamed: list[tuple[str, str]] = []
    for name in new:
        for like in get_close_matches(
            name, [v for v in vanished if v not in [r[0] for r in renamed]], 1, RENAMED_LIKENESS
        ):
            renamed.append((like, name))
    return Names(frozenset(then) & frozenset(now), tuple(new), tuple(vanished), tuple(renamed))


@contextmanager
def workers_of(
    places: Mapping[str, Place], pairs: int = PAIRS
) -> Iterator[list[dict[str, WorkerProcess]]]:
    """Pairs of workers, started together (nothing is measured yet), that have collected their tests."""
    with ExitStack() as stack:
        made: list[dict[str, WorkerProcess]] = []
        for _ in range(pairs):
            made.append({})
            for letter, place in places.items():
                made[-1][letter] = WorkerProcess(place)
                stack.callback(made[-1][letter].leave)
        for pair in made:
            for worker in pair.values():
                worker.wait_until_collected()
        yield made
