"""Every parser of a file or a text that somebody else may have written, and what uses its value."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from benchmarks import thresholds
from pytest_energy.cli.project_settings import read_project_settings
from pytest_energy.commits import channel, protocol
from pytest_energy.counting.callgrind import read_dump
from pytest_energy.errors import CountingUnavailable, EnergyError, MeterUnavailable, RunError
from pytest_energy.machine import fingerprint
from pytest_energy.meters import MeterSettings
from pytest_energy.meters.calibration import Calibration, load_calibration
from pytest_energy.meters.powercap import open_powercap
from pytest_energy.meters.replay import open_replay
from pytest_energy.options import OPTIONS, Options
from pytest_energy.report import compare_table, html
from pytest_energy.report.history_table import history_json
from pytest_energy.runs import export, packed_blocks
from pytest_energy.runs.compare import compare_runs
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.history import load_history
from pytest_energy.runs.json_format import read_run
from pytest_energy.runs.json_values import UNREADABLE
from pytest_energy.runs.noise import DEFAULT_NOISE, load_noise, noise_path
from pytest_energy.runs.summary import summarize_run
from studies.fuzzing import seeds
from studies.fuzzing.mutations import Texts, Trees, bytes_changed
from studies.fuzzing.target import FileTarget, Target, json_maker, lines_maker, text_maker
from tests.tsbench.conftest import TINY
from tsbench import checkpoints
from tsbench.data import download, formats
from tsbench.errors import TsbenchError
from tsbench.model import Classifier
from tsbench.sweep import spec, table
from tsbench.sweep.results import Results

PROJECT = (
    (
        b"[project]\nname = 'x'\n[tool.pytest.ini_options]\nenergy_tolerance = '3%'\n"
        b"addopts = ['-ra']\n[tool.pytest]\nenergy_alpha = 0.05\n"
    ),
    b"[tool.pytest.ini_options]\nenergy_strict = true\nenergy_max_time = 5\n",
)
INI = (
    b"[pytest]\nenergy_tolerance = 3%\nenergy_strict = true\naddopts =\n  -ra\n  -q\n",
    b"# c\n[tool:x]\na = 1\n[pytest]\nenergy_watts: 8,65\n",
)
SWEEP = (
    b'datasets = ["synthetic:timepoints=32,cases=6"]\nconfigs = ["student", "t1"]\n'
    b'seeds = [0, 1]\nvariants = ["int8_dynamic"]\nbatches = [1, 32]\ndevices = ["any"]\n'
    b'epochs = 3\nmax_time_s = 0.5\nmeter = "estimate"\n'
)
CALLGRIND = (
    b"# callgrind format\nversion: 1\npositions: line\nevents: Ir Dr Dw D1mr D1mw\n"
    b"fl=(1) a.c\nfn=(1) main\n16 400 1 2\ncfn=(2) f\ncalls=1 50\n16 400 3\nfn=(2)\n+1 20 5\n"
    b"fn=(3) g'2\n* 7\nsummary: 820 9 8 7 6\ntotals: 820 9\n"
)
SHOWN = 10  # of the readable runs; showing one takes ten times as long as reading it
OPTION_TEXTS = (
    *(b"3%", b"0.03", b"auto,estimate", b"powercap", b"60", b"8,65", b"change", b"main"),
    *(b"replay:trace.jsonl", b"100%", b"1e-3", b"accuracy", b"400"),
)


def saved_run(folder: Path) -> Target:
    """A saved run: read and exported, and one in `SHOWN` is compared, and shown by each command."""
    leave_charts_out()
    trees = Trees(seeds.saved_runs(folder / "seeds"))
    beside = folder / "valid.json"
    beside.write_text(json.dumps(seeds.saved_runs(folder / "more")[1]), encoding="utf8")
    valid, options = summarize_run(read_run(beside)), CompareOptions(0.03, 0.05)
    readable = count()

    def use(path: Path) -> None:
        run = read_run(path)
        check_export(run)
        if next(readable) % SHOWN:
            return
        made = compare_runs([valid], [summarize_run(run)], options, DEFAULT_NOISE)
        json.loads(compare_table.as_json(made, 0), parse_constant=_refuse)
        compare_table.terminal_table(made, False, None, 80).encode()
        history = load_history([path], None, "")
        json.loads(history_json(history), parse_constant=_refuse)
        html.page(run, history).encode()

    return FileTarget(folder / "case.json", json_maker(trees), use, EnergyError)


def check_export(run: Any) -> None:
    """Export it; no cell may be an escape sequence or a formula."""
    rows = export.rows([run])
    texts = export.as_csv(rows) + export.as_prometheus(rows)
    if "\x1b" in texts or '\n="' in texts:
        raise AssertionError(f"unescaped: {texts!r}")
    texts.encode()


def journal_lines(folder: Path) -> list[list[Any]]:
    """The lines of valid journals."""
    return [
        [{key: value for key, value in run.items() if key != "benchmarks"}, *run["benchmarks"]]
        for run in seeds.saved_runs(folder)
    ]


def journal(folder: Path) -> Target:
    """The journal of a run that was killed."""
    make = lines_maker(Trees(journal_lines(folder)))
    return FileTarget(folder / "case.jsonl", make, read_run, RunError)


def leave_charts_out() -> None:
    """Let a page have no charts."""
    html._charts_code = lambda: ""  # type: ignore[assignment]


def packed(folder: Path) -> Target:
    """The packed blocks of a comparison."""
    text = seeds.packed_blocks()
    columns = json.loads(zlib.decompress(base64.b64decode(text)))
    trees = Trees([columns])

    def make(dice: Random) -> bytes:
        if dice.random() < 0.05:
            return bytes_changed(dice, text.encode())
        with trees.changed(dice) as value:
            return base64.b64encode(zlib.compress(json.dumps(value).encode(), 1))

    return InMemory(
        make,
        lambda text: [None for block in packed_blocks.unpack_blocks(text.decode("latin1"))],
        *(KeyError, *UNREADABLE),
    )


class InMemory(Target):
    """A parser of a text."""

    def __init__(
        self,
        make: Callable[[Random], bytes],
        parse: Callable[[bytes], object],
        *errors: type[Exception],
    ):
        self._make, self._parse, self.errors, self._last = make, parse, errors, b""

    def case(self, dice: Random) -> None:
        self._last = self._make(dice)
        self._parse(self._last)

    def last(self) -> bytes:
        return self._last


class AnyOptions(Target):
    """`Options.of` with any text for any option."""

    errors = (EnergyError,)

    def __init__(self, folder: Path):
        self._texts, self._last = Texts(OPTION_TEXTS), {}

    def case(self, dice: Random) -> None:
        self._last = {
            option.name: self._texts.changed(dice).decode("utf8", "surrogateescape")
            if option.metavar
            else bool(dice.randrange(2))
            for option in dice.choices(OPTIONS, k=3)
        }
        Options.of(self._last)

    def last(self) -> bytes:
        return repr(self._last).encode()


def settings(folder: Path) -> Target:
    """The project's settings, in each kind of file that pytest reads."""
    files = {"pyproject.toml": Texts(PROJECT), "pytest.ini": Texts(INI)}

    class Settings(Target):
        errors = (EnergyError,)

        def case(self, dice: Random) -> None:
            name, texts = dice.choice(list(files.items()))
            self._path = folder / name
            self._path.write_bytes(texts.changed(dice))
            try:
                read_project_settings(folder)
            finally:
                self._content = self._path.read_bytes()
                self._path.unlink()

        def last(self) -> bytes:
            return self._content

    return Settings()


def calibration(folder: Path) -> Target:
    """A saved calibration."""
    valid = Calibration(8.0, 65.0, 0.8, 4, "a CPU", "a meter", ((0.0, 8.0), (1.0, 65.0)))
    trees = Trees([json.loads(json.dumps({"schema": 1, **asdict(valid)}))])
    return FileTarget(folder / "case", json_maker(trees), load_calibration, MeterUnavailable)


def noise(folder: Path) -> Target:
    """The saved noise of a machine."""
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    machine = fingerprint()
    path = noise_path(machine, "m")
    path.parent.mkdir(parents=True)
    valid = {"schema": 1, "machine": {}, "meter": "m", "runs": 9, "source": "x"}
    trees = Trees([{**valid, "seconds_sd": 0.01, "joules_sd": 0.02}])
    return FileTarget(path, json_maker(trees), lambda path: load_noise(machine, "m"), RunError)


def replay(folder: Path) -> Target:
    """A recorded trace."""
    header = {
        "pytest_energy_trace": 1,
        "name": "powercap",
        "provenance": "measured",
        "notes": ["n"],
        "domains": [["package-0", None], ["core-0", "package-0"]],
        "update_interval_s": 0.001,
        "resolution_joules": 6e-5,
        "band": [1.0, 1.0],
        "ticks": True,
    }
    readings = [[1.0 + n, {"package-0": 5.0 * n, "core-0": 2.0 * n}] for n in range(4)]
    return FileTarget(
        folder / "case.jsonl",
        lines_maker(Trees([[header, *readings]])),
        lambda path: open_replay(MeterSettings(), str(path)),
        MeterUnavailable,
    )


def callgrind(folder: Path) -> Target:
    """A dump of Callgrind."""

    def use(path: Path) -> object:
        dump = read_dump(str(path))
        return dump.events, dump.functions

    return FileTarget(folder / "case", text_maker(CALLGRIND), use, CountingUnavailable)


def worker(folder: Path) -> Target:
    """A message of a worker, which runs the code of another commit."""
    messages = (
        protocol.Collected(("a.py::test",), ("an error",), ("module",)),
        protocol.WindowTaken(1.5, {"package-0": 3.0}, 7, ("void",), (1.0, 0.5), (True, 9.0)),
        protocol.Ready(1, {"a.py": "0"}),
        protocol.CallsPerWindow(3, 0.1),
        protocol.ReplicateEnded(0),
    )
    make = json_maker(Trees([json.loads(json.dumps(protocol.to_json(each))) for each in messages]))
    return InMemory(make, channel.parse, channel.ChannelClosed)


def data(suffix: str) -> Callable[[Path], Target]:
    """A data file of this format."""

    def target(folder: Path) -> Target:
        make = text_maker(*seeds.DATA[suffix])
        return FileTarget(folder / f"A_TRAIN{suffix}", make, formats.read, TsbenchError)

    return target


class Archive(Target):
    """A downloaded zip: its members, their names, and its bytes."""

    errors = (TsbenchError,)

    def __init__(self, folder: Path):
        os.environ["TSBENCH_CACHE"] = str(folder)
        self._path = folder / "A.zip"
        self._names = Texts([b"A_TRAIN.ts", b"A/A_TEST.ts", b"A.txt", b"../A_TRAIN.ts"])
        self._contents = Texts(seeds.DATA[".ts"])

    def case(self, dice: Random) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(
            made, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        ) as z:
            for name in ("A/A_TRAIN.ts", "A/A_TEST.ts", "x")[: dice.randrange(4)]:
                if dice.random() < 0.3:
                    name = self._names.changed(dice).decode("utf8", "replace")
                about = zipfile.ZipInfo(name)
                about.external_attr = dice.choice((0o100644, 0o120777, 0o040755)) << 16
                z.writestr(
                    about, self._contents.changed(dice) * (5000 if dice.random() < 0.02 else 1)
                )
        content = made.getvalue()
        self._path.write_bytes(bytes_changed(dice, content) if dice.random() < 0.7 else content)
        self._last = self._path.read_bytes()
        target = download.folder() / "A"
        try:
            download._unpack("A", self._path, lambda unpacked: None)
        finally:
            for path in target.glob("*"):
                path.unlink()
            if target.is_dir():
                target.rmdir()

    def last(self) -> bytes:
        return self._last


class Checkpoint(Target):
    """A checkpoint: its header, its config and its bytes."""

    errors = (TsbenchError,)

    def __init__(self, folder: Path):
        config = replace(TINY, n_layers=1)
        model = Classifier(config)
        content = to_safetensors(
            model.state_dict(),
            {
                "format": checkpoints.FORMAT,
                "config": json.dumps(asdict(config)),
                "about": json.dumps({"dataset": "A", "classes": ["a", "b"]}),
            },
        )
        length = int.from_bytes(content[:8], "little")
        self._data = content[8 + length :]
        header = json.loads(content[8 : 8 + length])
        inner = {key: json.loads(header["__metadata__"][key]) for key in ("config", "about")}
        self._trees, self._inner = Trees([header]), Trees([inner])
        self._header, self._last = header, b""
        torch.set_num_threads(1)
        checkpoints.loads(content, Path("valid"))  # the imports of a first call are no fault

    def case(self, dice: Random) -> None:
        if dice.random() < 0.6:
            with self._inner.changed(dice) as inner:
                saved = self._header["__metadata__"]
                texts = {key: json.dumps(value) for key, value in inner.items()}
                header = {**self._header, "__metadata__": {**saved, **texts}}
                text = json.dumps(header).encode()
        else:
            with self._trees.changed(dice) as header:
                text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + self._data
        self._last = bytes_changed(dice, content) if dice.random() < 0.1 else content
        checkpoints.loads(self._last, Path("case"))

    def last(self) -> bytes:
        return self._last


class Powercap(Target):
    """A powercap tree: open it, read, change files, read again. No joules may be negative."""

    errors = (EnergyError,)
    folders = (
        "intel-rapl:0",
        "intel-rapl:0:0",
        "intel-rapl:0:1",
        "intel-rapl:1",
        "intel-rapl-mmio:0",
    )
    names = (
        "package-0",
        "package-1",
        "dram",
        "core",
        "uncore",
        "psys",
        "package-0-die-1",
        "a\x1b[1m",
    )

    def __init__(self, folder: Path):
        self._root, self._last = folder / "powercap", b""

    def case(self, dice: Random) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir()
        counters, written = [], []

        def write(path: Path, content: bytes) -> None:
            written.append((str(path), content))
            path.write_bytes(content)

        for name in self.folders[: dice.randrange(len(self.folders) + 1)]:
            zone = self._root / name
            zone.mkdir()
            write(zone / "name", dice.choice(self.names).encode() + b"\n")
            write(zone / "max_energy_range_uj", self._number(dice))
            if dice.random() < 0.95:
                counters.append(zone / "energy_uj")
                write(counters[-1], self._number(dice))
        self._last = repr(written).encode()
        meter = open_powercap(MeterSettings(str(self._root.parent)), None)
        try:
            before = meter.read()
            for path in counters:
                if dice.random() < 0.5:
                    write(path, self._number(dice))
                elif dice.random() < 0.1:
                    path.unlink()
            after = meter.read()
        finally:
            meter.close()
        self._last = repr(written).encode()
        gained = [after.joules[name] - before.joules[name] for name in before.joules]
        if not all(0 <= joules < math.inf for joules in gained):
            raise AssertionError(f"{before} to {after}")

    def last(self) -> bytes:
        return self._last

    @staticmethod
    def _number(dice: Random) -> bytes:
        if dice.random() < 0.8:
            return b"%d\n" % dice.randrange(2**40)
        return dice.choice((b"", b"-1\n", b"x", b"1e3", b"9" * 30, b" 5 ", b"\xff", b"0x10\n"))


def sweep_spec(folder: Path) -> Target:
    """A sweep's TOML file."""
    return FileTarget(folder / "case.toml", text_maker(SWEEP), spec.read, TsbenchError)


def threshold_file(folder: Path) -> Target:
    """The suite's thresholds.toml."""
    lines = thresholds.FILE.read_bytes().split(b"\n")
    short = b"\n".join(line for line in lines if not line.startswith(b"#"))[:1500]
    short = short[: short.rindex(b"\n") + 1]
    thresholds.read(_written(folder / "valid.toml", short))
    return FileTarget(folder / "case.toml", text_maker(short), thresholds.read, ValueError)


def sweep_records(folder: Path) -> Target:
    """A sweep's record, and the table of it."""
    trees = Trees([sweep_record(), training_record()])
    results = Results(str(folder))

    def use(path: Path) -> None:
        for place in table.places(list(results.records()), "folder"):
            if "\x1b" in table.markdown(place):
                raise AssertionError("an escape sequence")

    return FileTarget(folder / "case.json", json_maker(trees), use, TsbenchError)


def training_record() -> dict[str, Any]:
    """What a sweep saves of a training."""
    task = {"kind": "train", "dataset": "D", "config": "t1", "seed": 0, "device": "", "epochs": 1}
    return {
        "task": {**task, "data_sha256": "0"},
        "node": "here",
        "started_s": 1.0,
        "ended_s": 2.0,
        "accuracy": 0.5,
        "weights_sha256": "0",
        "cpu_seconds": 1.5,
        "joules": 3.0,
        "provenance": "measured",
    }


def sweep_record() -> dict[str, Any]:
    """What a sweep saves of a measurement."""
    ratio = {"value": 2.0, "low": 1.5, "high": None}
    row = {
        "variant": "int8_dynamic",
        "batch": 1,
        "speedup": ratio,
        "greenup": ratio,
        "powerup": None,
        "joules_per_inference": 0.5,
        "accuracy": 0.5,
        "provenance": "measured",
    }
    task = {"kind": "measure", "dataset": "D", "config": "t1", "seed": 0, "device": "any"}
    rows = [row, {**row, "variant": "fp32"}]
    return {"task": task, "fingerprint": {"cpu": "C", "cores": 4}, "meter": "m", "rows": rows}


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


PARSERS: dict[str, Callable[[Path], Target]] = {
    "options": AnyOptions,
    "settings": settings,
    "saved_run": saved_run,
    "journal": journal,
    "packed": packed,
    "calibration": calibration,
    "noise": noise,
    "replay": replay,
    "callgrind": callgrind,
    "worker": worker,
    "checkpoint": Checkpoint,
    "zip": Archive,
    **{suffix[1:]: data(suffix) for suffix in seeds.DATA},
    "thresholds": threshold_file,
    "sweep_spec": sweep_spec,
    "sweep_record": sweep_records,
    "powercap": Powercap,
}
