"""Many blocks in few bytes: columns of whole numbers, compressed.

A comparison of short calls has up to 1 000 blocks of four windows, which are 300 kB as plain JSON.
The packed form is base64 of zlib of a JSON object. Its columns have four values per block::

    {"orders": "ABBA", "replicates": null | [0, 0, 1, ...],   one letter and number per block
     "calls": [3, 3, 3, 3, ...], "seconds": column, "joules": {domain: column},
     "cpu": [column, column]}    only if every window has CPU seconds: its own, and others'

A block's letter is the first of its order. A column is ``{"step": s, "least": n, "more": [...]}``;
its values are ``(n + more) * s``. Steps are as fine as `PACKED_BYTES` allows, or else the coarsest.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_energy.model import ORDERS, Block, Window
from pytest_energy.runs.json_values import number, of_type

# Sixty blocks, as most comparisons have, then cost as much as the rest of a benchmark's entry.
PACKED_BYTES = 2_000
# Steps as a share of the smallest value. The coarsest rounds a window by at most 0.15 %, which is
# little beside the 1 % that its counter may err and the 10 % that noisy windows differ. With it,
# 1 000 blocks, the most there are, take 17 kB.
STEP_SHARES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3)
WINDOWS_PER_BLOCK = len(ORDERS[0])
# CPU seconds in whole milliseconds: the kernel counts the machine's in ticks of 10 ms.
CPU_STEP_S = 0.001
_ORDER_OF = {order[0]: order for order in ORDERS}
# 1 000 blocks, the most that this package saves, have some 100 kB.
MOST_UNPACKED_BYTES = 20_000_000


def pack_blocks(blocks: Sequence[Block]) -> str:
    """The blocks as text. Values are rounded to a share of the smallest, see `STEP_SHARES`."""
    text = ""
    for share in STEP_SHARES:
        text = _pack(blocks, share)
        if len(text) <= PACKED_BYTES:
            break
    return text


def unpack_blocks(text: str) -> Iterator[list[Any]]:
    """Each block as plain JSON has it: [order, four windows, replicate].

    Raises `ValueError` or `TypeError` for other texts. The caller checks the windows.
    """
    columns = of_type(dict, json.loads(_decompress(text)))
    orders, replicates = of_type(str, columns["orders"]), columns["replicates"]
    calls = of_type(list, columns["calls"])
    seconds = _values(columns["seconds"])
    joules = of_type(dict, columns["joules"])
    joules = {domain: _values(column) for domain, column in joules.items()}
    cpu = [_values(column) for column in of_type(list, columns.get("cpu", []))]
    for column in (calls, seconds, *joules.values(), *cpu):
        if len(column) != WINDOWS_PER_BLOCK * len(orders):
            raise ValueError(f"{len(column)} windows in {len(orders)} packed blocks")
    if replicates is not None and len(replicates) != len(orders):
        raise ValueError(f"{len(replicates)} replicates of {len(orders)} packed blocks")
    for place, letter in enumerate(orders):
        windows = [
            [
                seconds[at],
                {domain: column[at] for domain, column in joules.items()},
                calls[at],
                *([[column[at] for column in cpu]] if cpu else []),
            ]
            for at in range(WINDOWS_PER_BLOCK * place, WINDOWS_PER_BLOCK * (place + 1))
        ]
        block = [_ORDER_OF.get(letter, letter), windows]
        yield (
            block
            if replicates is None or replicates[place] is None
            else [
                *block,
                replicates[place],
            ]
        )


def _pack(blocks: Sequence[Block], share: float) -> str:
    windows = [window for block in blocks for window in block.windows]
    replicates = [block.replicate for block in blocks]
    columns: dict[str, Any] = {
        "orders": "".join(block.order[0] for block in blocks),
        "replicates": None if set(replicates) == {None} else replicates,
        "calls": [window.calls for window in windows],
        "seconds": _column([window.seconds for window in windows], share),
        "joules": {
            domain: _column(_of_domain(windows, domain), share) for domain in windows[0].joules
        },
    }
    if all(window.cpu is not None for window in windows):
        both = zip(*(window.cpu for window in windows if window.cpu is not None), strict=True)
        columns["cpu"] = [_column_of_steps(values, CPU_STEP_S) for values in both]
    text = json.dumps(columns, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _of_domain(windows: Sequence[Window], domain: str) -> list[float]:
    return [window.joules[domain] for window in windows]


def _column(values: Sequence[float], share: float) -> dict[str, Any]:
    smallest = min((abs(value) for value in values if value), default=1.0)
    return _column_of_steps(values, _round_step(smallest * share) or smallest)


def _column_of_steps(values: Sequence[float], step: float) -> dict[str, Any]:
    steps = [round(value / step) for value in values]
    least = min(steps)
    return {"step": step, "least": least, "more": [each - least for each in steps]}


def _round_step(size: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is not above ``size``: values then have few digits."""
    if size <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(size))
    return max((factor * power for factor in (1, 2, 5) if factor * power <= size), default=power)


def _values(column: Any) -> list[float]:
    step, least = number(column["step"], 0), of_type(int, column["least"])
    # Divide by a whole number where that is exact: 3 * 0.1 is 0.30000000000000004.
    per_unit = round(1 / step) if 0 < step < 1 else 0
    if per_unit and 1 / per_unit == step:
        return [(least + of_type(int, more)) / per_unit for more in column["more"]]
    return [(least + of_type(int, more)) * step for more in column["more"]]


def _decompress(text: Any) -> bytes:
    try:
        packed = base64.b64decode(of_type(str, text), validate=True)
        decompressor = zlib.decompressobj()
        content = decompressor.decompress(packed, MOST_UNPACKED_BYTES)
    except zlib.error as error:
        raise ValueError(f"packed blocks that cannot be unpacked: {error}") from None
    if not decompressor.eof:
        raise ValueError("packed blocks that are too long, or cut short")
    return content
