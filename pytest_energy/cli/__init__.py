"""``pytest-energy``: what can be done outside of a test run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pytest_energy.cli.disturbances import disturbances
from pytest_energy.cli.exit_codes import ExitCode
from pytest_energy.cli.meter_commands import add_meter_commands, split_command
from pytest_energy.cli.pull_request import add_pull_request_command
from pytest_energy.cli.run_commands import add_run_commands
from pytest_energy.errors import EnergyError, OptionError
from pytest_energy.machine import fingerprint
from pytest_energy.measuring.machine_lock import machine_lock
from pytest_energy.meters import AUTO, MeterSettings, survey
from pytest_energy.options import DEFAULT_LOCK_TIMEOUT_S, Options
from pytest_energy.report.compare_table import as_json, terminal_table
from pytest_energy.report.doctor import doctor_report, noise_report
from pytest_energy.report.escape import encodable
from pytest_energy.report.markdown import markdown
from pytest_energy.runs.compare import compare_saved
from pytest_energy.runs.comparison import CompareOptions
from pytest_energy.runs.load import DEFAULT_LAST
from pytest_energy.runs.noise import save_noise
from pytest_energy.stats.carbon import carbon_intensity


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code. Errors that a user can mend are one line on stderr."""
    arguments, command = split_command(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(arguments)
    if command is not None:
        options.command = command
    try:
        return int(options.run(options))
    except EnergyError as error:
        print(f"pytest-energy: {error}", file=sys.stderr)
        return ExitCode.UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pytest-energy", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True)
    doctor = commands.add_parser(
        "doctor", help="what can this machine measure, and what to do about what it cannot"
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--powercap-root", metavar="DIR", help="where the powercap tree is")
    doctor.add_argument("--hwmon-root", metavar="DIR", help="where the hwmon tree is")
    doctor.add_argument(
        "--watts", metavar="IDLE,FULL", help="idle and full-load watts, for the estimate"
    )
    doctor.add_argument(
        "--meter",
        metavar="SPEC",
        default=AUTO,
        help="for --noise: as --energy-meter (default: auto)",
    )
    doctor.add_argument(
        "--noise",
        action="store_true",
        help="find the floor under comparisons of saved runs, and keep it",
    )
    doctor.add_argument(
        "--noise-minutes",
        metavar="MINUTES",
        type=float,
        default=2.0,
        help="over how long (default: 2); longer sees slower drift",
    )
    doctor.set_defaults(run=_doctor)
    compare = commands.add_parser(
        "compare",
        help="two saved runs, or two folders of them; exit 1: regressed, 2: not comparable, 3: inconclusive (--strict)",
    )
    compare.add_argument("old", metavar="OLD", help="a saved run, or a folder of them")
    compare.add_argument("new", metavar="NEW", help="a saved run, or a folder of them")
    compare.add_argument(
        "--last",
        metavar="N",
        type=int,
        default=DEFAULT_LAST,
        help="of a folder, the newest N runs (default: 10)",
    )
    compare.add_argument(
        "--tolerance", metavar="SHARE", help="change that counts as unchanged (default: 3%%)"
    )
    compare.add_argument(
        "--alpha",
        metavar="SHARE",
        help="chance of a false alarm that is accepted per comparison (default: 1%%)",
    )
    compare.add_argument(
        "--quality-tolerance",
        metavar="AMOUNT",
        help="how much a quality may go down (default: the sampling noise of 375 cases)",
    )
    compare.add_argument(
        "--gate-estimates", action="store_true", help="let estimated joules decide, too"
    )
    compare.add_argument(
        "--carbon-intensity",
        metavar="G_PER_KWH",
        help="show grams of CO2e, too, at this many per kWh",
    )
    compare.add_argument(
        "--strict", action="store_true", help="exit 3 where something stayed inconclusive"
    )
    shape = compare.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="for programs")
    shape.add_argument("--markdown", action="store_true", help="for a pull request")
    compare.set_defaults(run=_compare)
    bisect = commands.add_parser(
        "bisect",
        help="which commit made a test burn more, by live comparisons; exit 2: nothing to bisect",
    )
    bisect.add_argument("good", metavar="GOOD", help="a commit that was still good")
    bisect.add_argument("bad", metavar="BAD", help="a later one that is not")
    bisect.add_argument(
        "tests", metavar="TESTS", nargs="*", help="as for pytest; options of pytest's after --"
    )
    bisect.add_argument("--meter", metavar="SPEC", help="as --energy-meter (default: auto)")
    bisect.add_argument(
        "--max-time",
        metavar="SECONDS",
        help="for one comparison (default: 5); unsure ones get four times as much",
    )
    bisect.add_argument(
        "--tolerance", metavar="SHARE", help="change that counts as unchanged (default: 3%%)"
    )
    bisect.add_argument(
        "--gate-estimates",
        action="store_true",
        help="go by estimated joules and not by time, where there is no sensor",
    )
    bisect.set_defaults(run=_bisect)
    add_meter_commands(commands)
    add_run_commands(commands)
    add_pull_request_command(commands)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    given = {
        "powercap_root": options.powercap_root,
        "hwmon_root": options.hwmon_root,
        "watts": options.watts,
    }
    settings: MeterSettings = Options.of(True, given).meter_settings
    if options.noise:
        return _noise(options, settings)
    findings = survey(settings)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(doctor_report(findings, tuple(disturbances())))
    return ExitCode.OK


def _bisect(options: argparse.Namespace) -> int:
    from pytest_energy.commits.bisect import bisect

    given = {
        key: getattr(options, key) for key in ("meter", "max_time", "tolerance", "gate_estimates")
    }
    arguments = (
        [*options.tests, f"--energy-meter={options.meter}"] if options.meter else options.tests
    )
    wanted = Options.of(True, given)
    with machine_lock(wanted.lock_timeout_s, print):
        found = bisect(Path.cwd(), options.good, options.bad, arguments, wanted, print)
    if len(found.suspects) == 1:
        print(f"{found.suspects[0]} made {found.test} worse")
    else:
        print(f"one of these made {found.test} worse, and they cannot be told apart:")
        print("\n".join(found.suspects))
    return ExitCode.OK


def _noise(options: argparse.Namespace, settings: MeterSettings) -> int:
    from pytest_energy.runs.noise_kernels import measure_noise

    def progress(line: str) -> None:
        print(line, file=sys.stderr)

    with machine_lock(DEFAULT_LOCK_TIMEOUT_S, progress):
        noise, meter_name = measure_noise(options.meter, settings, options.noise_minutes, progress)
    path = save_noise(noise, fingerprint(), meter_name)
    if options.json:
        print(json.dumps({"path": str(path), "meter": meter_name, **asdict(noise)}, indent=2))
    else:
        print(noise_report(noise, meter_name, str(path)))
    return ExitCode.OK


def _compare(options: argparse.Namespace) -> int:
    if options.last < 1:
        raise OptionError(f"--last takes the number of runs, 1 or more, not {options.last}")
    given = {
        "tolerance": options.tolerance,
        "alpha": options.alpha,
        "quality_tolerance": options.quality_tolerance,
    }
    wanted = Options.of(True, given)
    rules = CompareOptions(
        wanted.plan.tolerance, wanted.plan.alpha, options.gate_estimates, wanted.quality_tolerance
    )
    grams_per_kwh = carbon_intensity(options.carbon_intensity)
    comparison = compare_saved(options.old, options.new, options.last, rules)
    ended = ExitCode.of(comparison.failure(options.strict))
    if options.json:
        print(as_json(comparison, ended, grams_per_kwh))
    elif options.markdown:
        print(encodable(markdown(comparison, grams_per_kwh), sys.stdout.encoding))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(encodable(terminal_table(comparison, colour, grams_per_kwh), sys.stdout.encoding))
    return ended
