"""The calls that the study of counted work counts, each as it is and with 1 % more work (torch:
1.5 %). Imported in the worker under Callgrind."""

from __future__ import annotations

import heapq
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A call, by whether the change is in it, and the function that the change is in."""

    make: Callable[[int], Callable[[], object]]
    guilty: str


def scan(turns: int) -> int:
    total = 0
    for x in range(turns):
        total = (total * 3 + x) % 79
    return total


def count_words(words: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def order(numbers: list[int]) -> list[int]:
    heap: list[int] = []
    for number in numbers:
        heapq.heappush(heap, number)
    return [heapq.heappop(heap) for _ in numbers]


def render(turns: int) -> str:
    return ",".join(f"{turn}:{turn * 2.5:.2f}" for turn in range(turns))


class Point:
    def __init__(self, x: int, y: int):
        self.x, self.y = x, y

    def distance(self) -> int:
        return self.x * self.x + self.y * self.y


def distances(turns: int) -> int:
    return sum(Point(turn, turn + 1).distance() for turn in range(turns))


def logistic(turns: int) -> float:
    x = 0.5
    for _ in range(turns):
        x = 3.7 * x * (1 - x)
    return x


ADDRESS = re.compile(r"(\w+)@(\w+)\.com")


def addresses(text: str) -> list[Any]:
    return ADDRESS.findall(text)


def round_trip(records: list[dict[str, object]]) -> object:
    return json.loads(json.dumps(records))


def _python(guilty: str, n: int, argument: Callable[[int], Any], function: Any) -> Call:
    """With more: 1 % more of the argument."""

    def make(more: int) -> Callable[[], object]:
        given = argument(n + more * n // 100)
        return lambda: function(given)

    return Call(make, guilty)


def _array_call(name: str, guilty: str) -> Call:
    def make(more: int) -> Callable[[], object]:
        import numpy as np

        turns = 100 + more
        big = np.arange(10_000.0)
        small = np.arange(2_000.0)
        matrix = np.random.default_rng(0).random((24, 24))
        numbers = np.random.default_rng(1).random(400)
        operations: dict[str, Callable[[], object]] = {
            "add": lambda: [small + 1.0 for _ in range(turns)],
            "sqrt": lambda: [np.sqrt(small) for _ in range(turns)],
            "matmul": lambda: [matrix @ matrix for _ in range(turns)],
            "sort": lambda: [np.sort(numbers) for _ in range(turns)],
            "sum": lambda: [big.sum() for _ in range(turns)],
            "exp": lambda: [np.exp(small[:500]) for _ in range(turns)],
            "tiny": lambda: [np.array([1.0, 2.0]) + np.zeros(2) for _ in range(turns)],
        }
        return operations[name]

    return Call(make, guilty)


def _torch_call(layers: int, width: int) -> Call:
    """As many layers; 1.5 % more work: the last layer is that much wider."""

    def make(more: int) -> Callable[[], object]:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        hidden = [torch.nn.Linear(width, width) for _ in range(layers)]
        # A share of all layers' products: 1.5 % of `layers` layers is in the last one's outputs.
        wider = width + round(more * 0.015 * width * (layers + 1))
        model = torch.nn.Sequential(*hidden, torch.nn.Linear(width, wider)).eval()
        given = torch.randn(8, width)

        def call() -> object:
            with torch.no_grad():
                return model(given)

        return call

    return Call(make, "gemm")


CALLS: dict[str, Call] = {
    "python scan": _python("scan", 3000, lambda n: n, scan),
    "python words": _python(
        "count_words", 2000, lambda n: [f"w{at % 97}" for at in range(n)], count_words
    ),
    "python heap": _python("order", 600, lambda n: [at * 7919 % 1009 for at in range(n)], order),
    "python text": _python("render", 600, lambda n: n, render),
    "python objects": _python("distances", 600, lambda n: n, distances),
    "python floats": _python("logistic", 3000, lambda n: n, logistic),
    "python regex": _python(
        "sre_ucs1",
        300,
        lambda n: " ".join(f"user{at}@host{at}.com x" for at in range(n)),
        addresses,
    ),
    "python json": _python(
        "scan_once",
        200,
        lambda n: [{"id": at, "name": f"n{at}", "values": [at, at / 3, None]} for at in range(n)],
        round_trip,
    ),
    "numpy add": _array_call("add", "DOUBLE_add"),
    "numpy sqrt": _array_call("sqrt", "DOUBLE_sqrt"),
    "numpy matmul": _array_call("matmul", "dgemm"),
    "numpy sort": _array_call("sort", "sort"),
    "numpy sum": _array_call("sum", "pairwise"),
    "numpy exp": _array_call("exp", "exp"),
    "numpy tiny": _array_call("tiny", "ufunc_generic"),
    "torch wide": _torch_call(4, 256),
    "torch deep": _torch_call(12, 128),
}


def count_all(arguments: list[str]) -> None:
    """Count the calls that the request names, in an order of this process's own, and print them."""
    from dataclasses import replace
    from pathlib import Path

    from pytest_energy.counting.count import WorkCounter
    from pytest_energy.counting.counter import CallgrindCounter
    from pytest_energy.counting.python_functions import bytecodes_by_function
    from pytest_energy.runs.work_format import work_to_json

    request = json.loads(arguments[1])
    coin = random.Random(request["seed"])
    junk = [bytes(coin.randrange(700)) for _ in range(coin.randrange(20_000))]
    junk = [each for each in junk if coin.random() < 0.5]
    counter = WorkCounter(CallgrindCounter(Path(arguments[0])))
    wanted = [
        (place, more) for place in range(len(request["names"])) for more in request["variants"]
    ]
    coin.shuffle(wanted)
    found: list[dict[int, Any]] = [{} for _ in request["names"]]
    for place, more in wanted:
        call = CALLS[request["names"][place]].make(more)
        work = replace(counter.count(call), bytecodes=bytecodes_by_function(call))
        found[place][more] = work_to_json(work)
    print(json.dumps([[each[more] for more in request["variants"]] for each in found]))
