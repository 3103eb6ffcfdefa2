"""The messages between the main process and a worker process.

| the main process sends | the answer | who answers |
|---|---|---|
| `Collect`, once | `Collected`; or `PytestEnded` if pytest ended before its loop | the worker |
| `StartReplicate` | `SetUpDone`, and then `Ready` | the worker, then its fork |
| `PinToCpu` | `Pinned` | the fork |
| `CountCalls` | `CallsPerWindow` | the fork |
| `TakeWindow` | `WindowTaken` | the fork |
| `AskWaits` | `ThreadsWaited` | the fork |
| `Dismiss` | `ReplicateEnded` | the worker |

Between `StartReplicate` and `Dismiss` the answer may also be `Failed` and then `ReplicateEnded`.
When the main process closes its end, the worker tears its fixtures down and ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """What both ends send."""


@dataclass(frozen=True)
class Collect(Message):
    """Collect the tests, once, with these arguments of pytest."""

    folder: str
    options: tuple[str, ...]
    paths: tuple[str, ...]
    """Files, folders and node ids, relative to the folder. Those that are missing are left out."""
    import_paths: tuple[str, ...]
    """Goes to the front of sys.path."""
    tree: str
    """The top of this side's tree."""
    forbidden_tree: str
    """No module may come from this tree; "" forbids none."""


@dataclass(frozen=True)
class StartReplicate(Message):
    """Set a test up, fork, and run its body up to the first measurement."""

    test: str
    warm_up_s: float
    report_files: bool
    """Whether `Ready` lists the loaded files."""
    sides: str = "B"
    """Which calls to warm up: "A" and "B" are baseline and candidate of ``energy.versus``. A test
    that measures one call has "B" only."""


@dataclass(frozen=True)
class PinToCpu(Message):
    cpu: int


@dataclass(frozen=True)
class CountCalls(Message):
    """Find how many calls a window needs."""

    side: str = "B"


@dataclass(frozen=True)
class TakeWindow(Message):
    calls: int
    side: str = "B"
    warms_up: bool = False
    """Whether as many calls come before the window."""


@dataclass(frozen=True)
class AskWaits(Message):
    """How much of their time the threads of a pool have waited for a CPU."""


@dataclass(frozen=True)
class Dismiss(Message):
    """End the fork."""


@dataclass(frozen=True)
class Collected(Message):
    tests: tuple[str, ...]
    """Node ids of the tests that measure."""
    errors: tuple[str, ...]
    foreign_modules: tuple[str, ...]
    """Modules that came from the forbidden tree."""


@dataclass(frozen=True)
class PytestEnded(Message):
    exit_code: int


@dataclass(frozen=True)
class SetUpDone(Message):
    pass


@dataclass(frozen=True)
class Ready(Message):
    """The fork stands at its measurement."""

    cpu: int | None
    """The CPU it runs on; None if it uses several threads or the system does not show the CPU."""
    loaded_files: dict[str, str]


@dataclass(frozen=True)
class Pinned(Message):
    pass


@dataclass(frozen=True)
class CallsPerWindow(Message):
    calls: int
    seconds_per_call: float


@dataclass(frozen=True)
class WindowTaken(Message):
    seconds: float
    joules: dict[str, float]
    calls: int
    void_reasons: tuple[str, ...]
    """Why windows before this one were void."""
    cpu: tuple[float, float] | None
    """CPU seconds of the fork and of all others, if the window has them."""
    gpu: tuple[bool, float] | None
    """As `model.GpuClocks`, if the window has it."""


@dataclass(frozen=True)
class ThreadsWaited(Message):
    share: float
    """As `measuring.threads.ThreadWaits.share_of_several`, since the fork stands ready."""


@dataclass(frozen=True)
class Failed(Message):
    reason: str


@dataclass(frozen=True)
class ReplicateEnded(Message):
    """The fork is gone; the wait status of `os.waitpid`."""

    status: int


TYPES = {kind.__name__: kind for kind in Message.__subclasses__()}


def to_json(message: Message) -> dict[str, Any]:
    """The message as a JSON object: its type's name and its fields."""
    return {"type": type(message).__name__, **asdict(message)}


def from_json(document: Mapping[str, Any]) -> Message:
    """The message that `to_json` made. Raises KeyError or TypeError for anything else."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name != "type"
    }
    message: Message = TYPES[document["type"]](**fields)
    return message
