"""Which options there are. What they mean is in options.py, which pytest does not need until one is given."""

from __future__ import annotations

from typing import NamedTuple


class Setting(NamedTuple):
    """One option: ``--energy-NAME`` on the command line and ``energy_NAME`` in the ini file."""

    name: str
    help: str
    metavar: str | None = None
    """None for a switch."""

    @property
    def flag(self) -> str:
        return "--energy-" + self.name.replace("_", "-")

    @property
    def ini(self) -> str:
        return "energy_" + self.name

    @property
    def ini_help(self) -> str:
        return self.help.replace("%%", "%")  # only argparse takes a single one for a format


SETTINGS = (
    Setting(
        "meter",
        "Meter to use: auto, a name, NAME:ARGUMENT, or several with commas (default: auto).",
        "SPEC",
    ),
    Setting(
        "watts", "Idle and full-load watts of this machine, for the estimated meter.", "IDLE,FULL"
    ),
    Setting("max_time", "Seconds allowed for one comparison (default: 5).", "SECONDS"),
    Setting(
        "tolerance",
        "Change of a ratio that counts as unchanged, such as 3%% or 0.03 (default: 3%%).",
        "SHARE",
    ),
    Setting(
        "alpha",
        "Chance of a wrong interval that is accepted per comparison (default: 1%%).",
        "SHARE",
    ),
    Setting(
        "quantisation",
        "Error of the counter that windows are made long enough for (default: 1%%).",
        "SHARE",
    ),
    Setting("powercap_root", "Where the powercap tree is (default: /sys/class/powercap).", "DIR"),
    Setting("hwmon_root", "Where the hwmon tree is (default: /sys/class/hwmon).", "DIR"),
    Setting("gate_estimates", "Let estimated joules pass or fail a gate, too."),
    Setting(
        "quality_tolerance",
        "How much a quality may go down against a saved run (default: the noise of 375 cases).",
        "SHARE",
    ),
    Setting(
        "durations", "Show what the measuring time of the N slowest tests went to (0: of all).", "N"
    ),
    Setting(
        "carbon_intensity", "Show grams of CO2e, too, at this many grams per kWh.", "G_PER_KWH"
    ),
    Setting(
        "lock_timeout",
        "How long to wait for another run on this machine to finish (default: 3600).",
        "SECONDS",
    ),
    Setting(
        "machine_name",
        "A name for this machine, saved with the run (default: none is saved).",
        "NAME",
    ),
    Setting("strict", "Fail on inconclusive verdicts, too."),
)
