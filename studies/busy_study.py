"""Wrong words on a busy machine: equal code, and 5 % more work, of three kinds of Python code.

Run by hand, beside as many other programs as you like::

    python -m studies.busy_study 600        # seconds

Each comparison has the default options. A wrong word is `regressed` or `improved` of equal code,
and `unchanged` or `improved` of 5 % more work.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from pytest_energy.gate import Gate
from pytest_energy.measuring.paired import versus
from pytest_energy.meters import info, open_meter
from pytest_energy.model import Measurement, Result
from pytest_energy.plan import Plan
from studies.gate_live import work

WRONG = {"equal": ("regressed", "improved"), "+5 %": ("unchanged", "improved")}


def arithmetic(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += number * number
    return total


def objects(count: int) -> list[dict[str, object]]:
    return [{"number": number, "text": str(number)} for number in range(count)]


# Of each kind, the code and 5 % more of it.
KINDS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "numpy": (partial(work, 100), partial(work, 105)),
    "arithmetic": (partial(arithmetic, 4000), partial(arithmetic, 4200)),
    "objects": (partial(objects, 1000), partial(objects, 1050)),
}


def main() -> None:
    ends_s = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 600)
    counts: dict[tuple[str, str], Counter[str]] = {}
    loads: list[float] = []
    with open_meter("estimate") as meter:
        gate, about = Gate(), info(meter)
        while time.monotonic() < ends_s:
            kind, change = random.choice(list(KINDS)), random.choice(list(WRONG))
            baseline, more = KINDS[kind]
            candidate = baseline if change == "equal" else more
            compared = versus(
                baseline,
                candidate,
                meter=meter,
                plan=Plan(),
                decided=lambda ratios: gate.decided(ratios, about),
            )
            windows = compared.blocks[0].windows
            result = Result(kind, Measurement(kind, about, windows), compared)
            verdict = next(v.verdict for v in gate.judge(result) if v.metric == "speedup")
            counts.setdefault((kind, change), Counter())[verdict] += 1
            loads.append(os.getloadavg()[0])
    wrong = sum(
        count
        for (_, change), verdicts in counts.items()
        for verdict, count in verdicts.items()
        if verdict in WRONG[change]
    )
    print(
        f"{len(loads)} comparisons, load {min(loads):.0f} to {max(loads):.0f}: {wrong} wrong words"
    )
    for (kind, change), verdicts in sorted(counts.items()):
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
        print(f"  {kind:10s} {change:6s} {told}")


if __name__ == "__main__":
    main()
