"""``pytest-energy``: what can be done outside of a test run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from pytest_energy.errors import EnergyError
from pytest_energy.meters import MeterSettings, survey
from pytest_energy.options import Options
from pytest_energy.report.terminal import doctor_report

EXIT_OK, EXIT_UNUSABLE = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code. Errors that a user can mend are one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except EnergyError as error:
        print(f"pytest-energy: {error}", file=sys.stderr)
        return EXIT_UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pytest-energy", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True)
    doctor = commands.add_parser("doctor", help="what can this machine measure, and what to do about what it cannot")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--powercap-root", metavar="DIR", help="where the powercap tree is")
    doctor.add_argument("--hwmon-root", metavar="DIR", help="where the hwmon tree is")
    doctor.add_argument("--watts", metavar="IDLE,FULL", help="idle and full-load watts, for the estimate")
    doctor.set_defaults(run=_doctor)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    given = {"powercap_root": options.powercap_root, "hwmon_root": options.hwmon_root, "watts": options.watts}
    settings: MeterSettings = Options.of(True, given).meter_settings
    findings = survey(settings)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(doctor_report(findings))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
