"""Comparisons and their blocks to and from JSON. The reader computes the ratios again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_energy.model import ORDERS, Block, Comparison, MeterInfo, Window
from pytest_energy.runs.json_values import number, of_type, shown
from pytest_energy.runs.packed_blocks import pack_blocks, unpack_blocks
from pytest_energy.runs.window_format import interval_to_json, rounded_window, windows_from_json
from pytest_energy.stats.gps_up import gps_up

# A real sensor's comparison has some 12 blocks: these are plain, more are packed.
MOST_PLAIN_BLOCKS = 16
# Of a block: its order, its windows, and the number of its two processes where there are several.
FEWEST_VALUES, MOST_VALUES = 2, 3


def comparison_to_json(comparison: Comparison | None) -> dict[str, Any] | None:
    """The value of ``versus`` in the entry of a benchmark."""
    if comparison is None:
        return None
    return {
        "baseline": comparison.baseline_name,
        "speedup": interval_to_json(comparison.speedup),
        "greenup": interval_to_json(comparison.greenup),
        "powerup": interval_to_json(comparison.powerup),
        "category": comparison.category,
        "confidence": comparison.confidence,
        "blocks": _blocks_to_json(comparison.blocks),
    }


def comparison_from_json(saved: Mapping[str, Any] | None, meter: MeterInfo) -> Comparison | None:
    """The comparison, with ratios that are computed from its blocks."""
    if saved is None:
        return None
    of_type(dict, saved)
    plain = saved["blocks"]
    if isinstance(plain, str):
        plain = list(unpack_blocks(plain))
    blocks = tuple(_block_from_json(meter, block) for block in of_type(list, plain))
    confidence = number(saved["confidence"])
    if not blocks or not 0 < confidence < 1:
        raise ValueError(f"a comparison of {len(blocks)} blocks at a confidence of {confidence!r}")
    # 1 - 0.99 is 0.010000000000000009.
    ratios = gps_up(blocks, meter, round(1 - confidence, 12))
    return Comparison(
        of_type(str, saved["baseline"]),
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        blocks,
        confidence,
        meter,
    )


def candidate_windows(comparison: Comparison) -> tuple[Window, ...]:
    """The windows of the candidate, in the order of measuring."""
    return tuple(
        window
        for block in comparison.blocks
        for letter, window in zip(block.order, block.windows, strict=True)
        if letter == "B"
    )


def _blocks_to_json(blocks: Sequence[Block]) -> list[Any] | str:
    if len(blocks) > MOST_PLAIN_BLOCKS:
        return pack_blocks(blocks)
    return [_block_to_json(block) for block in blocks]


def _block_to_json(block: Block) -> list[Any]:
    saved = [block.order, [rounded_window(window) for window in block.windows]]
    return saved if block.replicate is None else [*saved, block.replicate]


def _block_from_json(meter: MeterInfo, saved: Any) -> Block:
    if not FEWEST_VALUES <= len(of_type(list, saved)) <= MOST_VALUES:
        raise ValueError(f"a block {shown(saved)}, without an order and windows")
    order, windows, replicate = [*saved, None][:MOST_VALUES]
    if of_type(str, order) not in ORDERS or len(of_type(list, windows)) != len(order):
        raise ValueError(f"a block {order!r} of {len(windows)} windows")
    if replicate is not None:
        of_type(int, replicate)
    return Block(
        order,
        windows_from_json(windows, meter, fewest_calls=1),
        replicate,
    )
