"""Fuzz each parser with millions of broken inputs, guided by coverage (Atheris). Run by hand::

    python -m studies.fuzz_study [TARGET ...] [--runs 1000000]

A target fails on any exception that is not the parser's own error, on a wrong exit code, and on a
case that takes ten seconds. libFuzzer then saves the case as a crash file beside the temporary
folder. Requires `pip install atheris`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pytest_energy", "tsbench.data.formats"]):
    from pytest_energy import cli
    from pytest_energy.errors import EnergyError, RunUnreadable
    from pytest_energy.meters import MeterSettings
    from pytest_energy.meters.powercap import open_powercap
    from pytest_energy.model import Block, Window
    from pytest_energy.options import OPTIONS, Options
    from pytest_energy.runs import json_format
    from pytest_energy.runs.json_values import UNREADABLE
    from pytest_energy.runs.packed_blocks import pack_blocks, unpack_blocks
    from tsbench.data import formats
    from tsbench.errors import TsbenchError

from tests.energy.rigs.saved_runs import Runs, write_runs

CASE_TIMEOUT_S = 10
UCR_SEEDS = {
    ".ts": b"@problemName A\n@univariate true\n@classLabel true a b\n@data\n1.0,2.5,?:a\n3,4,5:b\n",
    ".tsv": b"1\t0.5\t-1e3\tNaN\n2\t1\t2\t3\n",
    ".arff": (
        b"@relation A\n@attribute x1 numeric\n@attribute x2 numeric\n@attribute target {1,2}\n"
        b"@data\n0.5,?,1\n1,2,2\n"
    ),
    ".txt": b"1  0.5 -1.5\n2  0.1 3\n",
}
# Each of these may replace a value of a saved run.
STRANGE = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    -(2**70),
    0.5,
    math.inf,
    math.nan,
    1e308,
    "",
    "x",
    "漢\x00",
    [],
    {},
    [[]],
    [1, 2, 3],
]


def value_paths(value: Any, path: tuple = ()) -> list[tuple]:
    """The keys and indices that lead to each value inside this one."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path] * bool(path) + [
        found for key, item in inner for found in value_paths(item, (*path, key))
    ]


class SavedRun:
    """`json_format.read_run` on a changed saved run, and on arbitrary bytes.

    A change replaces a value, removes one or cuts the file.
    """

    suffix = ".json"

    def __init__(self, folder: Path):
        write_runs(folder / "seed", Runs(1, 2, {}, seed=0))
        (path,) = (folder / "seed").glob("**/*.json")
        self.document = json.loads(path.read_text(encoding="utf8"))
        self.paths = value_paths(self.document)
        self.path = folder / f"case{self.suffix}"
        self.seeds = [b"\x01" + bytes(40), b"\x00" + self.text(self.document)[:4000]]

    def text(self, document: Any) -> bytes:
        return json.dumps(document).encode()

    def changed(self, data: bytes) -> bytes:
        if not data or not data[0] % 2:
            return data[1:]
        given = atheris.FuzzedDataProvider(data[1:])
        document = copy.deepcopy(self.document)
        for _ in range(given.ConsumeIntInRange(1, 3)):
            *way, last = given.PickValueInList(self.paths)
            holder = document
            # An earlier change may have removed this value.
            with contextlib.suppress(KeyError, IndexError, TypeError):
                for key in way:
                    holder = holder[key]
                if given.ConsumeBool():
                    # A copy, because a later change may go inside it.
                    holder[last] = copy.deepcopy(given.PickValueInList(STRANGE))
                else:
                    del holder[last]
        text = self.text(document)
        return (
            text[: given.ConsumeIntInRange(0, len(text))]
            if given.ConsumeProbability() < 0.05
            else text
        )

    def __call__(self, data: bytes) -> bool:
        self.path.write_bytes(self.changed(data))
        try:
            json_format.read_run(self.path)
        except RunUnreadable:
            return False
        return True


class Journal(SavedRun):
    """The same for the journal of a run that was killed."""

    suffix = ".jsonl"

    def text(self, document: Any) -> bytes:
        header = {key: value for key, value in document.items() if key != "benchmarks"}
        benchmarks = document.get("benchmarks")
        lines = [header, *(benchmarks if isinstance(benchmarks, list) else [benchmarks])]
        return "".join(json.dumps(line) + "\n" for line in lines).encode()


class PackedBlocks(SavedRun):
    """`packed_blocks.unpack_blocks` on packed columns with values replaced or removed."""

    def __init__(self, folder: Path):
        dice = random.Random(0)
        blocks = [
            Block("ABBA", tuple(Window(dice.random(), {"a": 1.0, "b": 2.0}, 3) for _ in range(4)))
            for _ in range(20)
        ]
        packed = base64.b64decode(pack_blocks(blocks))
        self.document = json.loads(zlib.decompress(packed))
        self.paths = value_paths(self.document)
        self.seeds = [b"\x01" + bytes(40), b"\x00" + packed]

    def __call__(self, data: bytes) -> bool:
        changed = self.changed(data)
        if data and data[0] % 2:
            changed = zlib.compress(changed, 1)
        try:
            for block in unpack_blocks(base64.b64encode(changed).decode()):
                assert len(block) in (2, 3)
        except (KeyError, *UNREADABLE):
            return False
        return True


class Command(SavedRun):
    """A whole command on a changed run: exit code 0, or 2 with a message, and no internal error."""

    codes = (0, 2)

    def arguments(self) -> list[str]:
        """The command's arguments."""
        raise NotImplementedError

    def __call__(self, data: bytes) -> bool:
        self.path.write_bytes(self.changed(data))
        # Encode as a terminal does: it cannot print a lone surrogate.
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf8") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(self.arguments())
        err.flush()
        message = err.buffer.getvalue().decode()
        if code not in self.codes or "a fault of" in message or (code == 2 and not message.strip()):
            raise AssertionError(f"exit code {code}: {message!r}")
        return code != 2


class Compare(Command):
    """A valid run against a changed one."""

    codes = (0, 1, 2)

    def arguments(self) -> list[str]:
        """The command's arguments."""
        sound = self.path.with_name("sound.json")
        if not sound.exists():
            sound.write_bytes(self.text(self.document))
        return ["compare", str(sound), str(self.path)]


class ExportCsv(Command):
    """CSV of a changed run."""

    def arguments(self) -> list[str]:
        """The command's arguments."""
        output = str(self.path.with_suffix(".csv"))
        return ["export", str(self.path), "--format", "csv", "--output", output]


class ExportPrometheus(Command):
    """Prometheus text of a changed run."""

    def arguments(self) -> list[str]:
        """The command's arguments."""
        output = str(self.path.with_suffix(".txt"))
        return ["export", str(self.path), "--format", "prometheus", "--output", output]


class History(Command):
    """The history of a valid run and a changed one."""

    def arguments(self) -> list[str]:
        """The command's arguments."""
        return ["history", str(self.path.parent / "seed"), str(self.path)]


class Report(Command):
    """The page of a changed run."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        # The first page loads the chart compiler: 11 s on a busy machine. Later pages take 0.1 s.
        self(b"\x00" + self.text(self.document))

    def arguments(self) -> list[str]:
        """The command's arguments."""
        return ["report", str(self.path), "--output", str(self.path.with_suffix(".html"))]


class Ucr:
    """`tsbench.data.formats.read`, on all four formats."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seeds = [bytes([index]) + text for index, text in enumerate(UCR_SEEDS.values())]

    def __call__(self, data: bytes) -> bool:
        suffix = list(UCR_SEEDS)[data[0] % len(UCR_SEEDS)] if data else ".ts"
        path = self.folder / f"A_TRAIN{suffix}"
        path.write_bytes(data[1:])
        try:
            formats.read(path)
        except TsbenchError:
            return False
        return True


class Powercap:
    """A powercap tree with arbitrary content: open it, read, change files, read again.

    No window may have negative joules.
    """

    seeds = [b"\x02" + b"package-0\x00262143328850\n1000\n2000\n" * 3]
    folders = (
        "intel-rapl:0",
        "intel-rapl:0:0",
        "intel-rapl:0:1",
        "intel-rapl:1",
        "intel-rapl-mmio:0",
    )
    names = (
        b"package-0\n",
        b"package-1\n",
        b"dram\n",
        b"core\n",
        b"uncore\n",
        b"psys\n",
        b"package-0-die-1\n",
        b"package-0-die-0\n",
    )

    def __init__(self, folder: Path):
        self.root = folder / "powercap"

    def __call__(self, data: bytes) -> bool:
        given = atheris.FuzzedDataProvider(data)
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        counters = []
        for name in self.folders[: given.ConsumeIntInRange(0, len(self.folders))]:
            folder = self.root / name
            folder.mkdir()
            named = (
                given.PickValueInList(list(self.names))
                if given.ConsumeProbability() < 0.8
                else given.ConsumeBytes(12)
            )
            (folder / "name").write_bytes(named)
            (folder / "max_energy_range_uj").write_bytes(self.number(given))
            if given.ConsumeProbability() < 0.95:
                counters.append(folder / "energy_uj")
                counters[-1].write_bytes(self.number(given))
        try:
            meter = open_powercap(MeterSettings(str(self.root)), None)
        except EnergyError:
            return False
        try:
            before = meter.read()
            for path in counters:
                if given.ConsumeBool():
                    path.write_bytes(self.number(given))
                elif given.ConsumeProbability() < 0.1:
                    path.unlink()
            after = meter.read()
            if any(
                not 0 <= after.joules[name] - before.joules[name] < math.inf
                for name in before.joules
            ):
                raise AssertionError(f"{before} to {after}")
        except EnergyError:
            return False
        finally:
            meter.close()
        return True

    @staticmethod
    def number(given: Any) -> bytes:
        if given.ConsumeProbability() < 0.8:
            return b"%d\n" % given.ConsumeIntInRange(0, 2**40)
        return given.ConsumeBytes(given.ConsumeIntInRange(0, 24))


class AllOptions:
    """`Options.of` with any text for any option."""

    seeds = [b"\x03" + b"3%\x00auto,estimate\x000.5\x008,65\x0060"]

    def __init__(self, folder: Path):
        pass

    def __call__(self, data: bytes) -> bool:
        given = atheris.FuzzedDataProvider(data)
        texts = {}
        for _ in range(given.ConsumeIntInRange(1, 4)):
            setting = given.PickValueInList(list(OPTIONS))
            texts[setting.name] = (
                given.ConsumeUnicode(given.ConsumeIntInRange(0, 20))
                if setting.metavar
                else given.ConsumeBool()
            )
        try:
            Options.of(texts)
        except EnergyError:
            return False
        return True


TARGETS: dict[str, Callable[[Path], Any]] = {
    "options": AllOptions, "saved_run": SavedRun, "journal": Journal, "packed": PackedBlocks,
    "ucr": Ucr, "powercap": Powercap, "compare": Compare, "csv": ExportCsv,
    "prometheus": ExportPrometheus, "history": History, "report": Report,
}  # fmt: skip


def fuzz(name: str, runs: int, folder: Path) -> None:
    """Fuzz one target, and end the process after the last case or the first failure."""
    target = TARGETS[name](folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    counts = {True: 0, False: 0}
    began_s = time.perf_counter()

    def one(data: bytes) -> None:
        counts[target(data)] += 1
        if counts[True] + counts[False] == runs:
            took_s = time.perf_counter() - began_s
            print(
                f"| {name} | {runs} | {counts[True]} | {counts[False]} | {took_s:.0f} |",
                flush=True,
            )
            os._exit(0)

    atheris.Setup(
        [
            sys.argv[0],
            f"-timeout={CASE_TIMEOUT_S}",
            f"-artifact_prefix={folder.parent}/",
            "-max_len=4096",
            "-verbosity=0",
            "-seed=1",
            str(corpus),
        ],
        one,
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--here", help=argparse.SUPPRESS)  # set in the child process
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    if options.here:
        fuzz(options.targets[0], options.runs, Path(options.here))
    print("| parser | cases | accepted | refused | s |\n|---|---|---|---|---|", flush=True)
    worst = 0
    for name in options.targets or TARGETS:
        with tempfile.TemporaryDirectory(
            dir="/dev/shm" if Path("/dev/shm").is_dir() else None
        ) as folder:
            command = [
                sys.executable,
                "-m",
                "studies.fuzz_study",
                name,
                "--runs",
                str(options.runs),
                "--here",
                folder,
            ]
            done = subprocess.run(
                command, stderr=subprocess.PIPE, text=True, errors="replace", check=False
            )
            if done.returncode:
                print(
                    f"| {name} | failed, exit code {done.returncode} |\n{done.stderr[-3000:]}",
                    flush=True,
                )
                worst = 1
    return worst


if __name__ == "__main__":
    sys.exit(main())
