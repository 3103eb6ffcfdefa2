"""Joules inside a virtual machine are attributed, unless the user declares the sensor real."""

import pytest

from pytest_energy.errors import OptionError
from pytest_energy.gate import Budget, Gate
from pytest_energy.meters import open_meter, virtual
from pytest_energy.meters.powercap import PowercapMeter
from pytest_energy.meters.virtual import allowed_cpus, is_virtual
from pytest_energy.model import Domain, Measurement, MeterInfo, Result, Window
from pytest_energy.runs.summary import meter_identity
from pytest_energy.verdicts import NOT_GATED_ATTRIBUTED
from tests.energy.rigs.powercap_tree import LAYOUTS, Tree

BARE = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme de rdrand\n"
GUEST = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu hypervisor rdrand\n"
ATTRIBUTED = MeterInfo("powercap", "attributed", (Domain("package-0"),), 0.001, 1e-6)


@pytest.fixture
def cpuinfo(tmp_path):
    def write(text):
        path = tmp_path / "proc_cpuinfo"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "virtual"),
    [
        (BARE, False),
        (GUEST, True),
        ("flags\t\t: fpu nohypervisor\n", False),
        ("model name\t: hypervisor\nflags\t\t: fpu\n", False),
        ("Features\t: fp asimd\n", False),
        ("", False),
    ],
)
def test_a_guest_has_the_hypervisor_flag(cpuinfo, text, virtual):
    assert is_virtual(cpuinfo(text)) is virtual


def test_without_cpuinfo_no_machine_is_virtual(tmp_path):
    assert not is_virtual(tmp_path / "none")


@pytest.mark.parametrize("layout", ["single", "client"])
@pytest.mark.parametrize(
    ("text", "trust", "provenance", "note"),
    [
        (BARE, False, "measured", ""),
        (BARE, True, "measured", ""),
        (GUEST, False, "attributed", "shares of the host's joules"),
        (GUEST, True, "measured", "the user declares"),
    ],
)
def test_rapl_in_a_guest_is_attributed(tmp_path, cpuinfo, layout, text, trust, provenance, note):
    tree = Tree(tmp_path / "powercap", LAYOUTS[layout])
    with PowercapMeter(tree.root, cpuinfo=cpuinfo(text), trust_sensor=trust) as meter:
        assert meter.provenance == provenance
        assert note in " ".join(meter.notes)
        assert ("hypervisor" in " ".join(meter.notes)) == (provenance == "attributed")


def test_attributed_joules_gate_only_if_estimates_may():
    window = Window(1.0, {"package-0": 5.0}, 10)
    result = Result("test", Measurement("test", ATTRIBUTED, (window,) * 20))
    budget = Budget(max_joules=0.001, max_seconds=0.001)
    joules, seconds = Gate(budget).judge(result)
    assert (joules.verdict, joules.reason) == ("not gated", NOT_GATED_ATTRIBUTED)
    assert seconds.verdict == "missed"
    assert Gate(budget, gate_estimates=True).judge(result)[0].verdict == "missed"


def test_attributed_and_measured_meters_differ():
    measured = MeterInfo("powercap", "measured", ATTRIBUTED.domains, 0.001, 1e-6)
    assert meter_identity(measured) != meter_identity(ATTRIBUTED)


def test_a_guests_share_and_an_estimate_are_not_added_up(monkeypatch, tmp_path, cpuinfo):
    tree = Tree(tmp_path / "powercap", LAYOUTS["single"])
    monkeypatch.setattr(
        "pytest_energy.meters.powercap.rapl_provenance", lambda *_: ("attributed", ())
    )
    with pytest.raises(OptionError, match="powercap is attributed.*estimate is estimated"):
        open_meter(f"powercap:root={tree.root},estimate")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine of 8 CPUs, and a function that writes files of its control groups."""
    (tmp_path / "online").write_text("0-7\n")
    monkeypatch.setattr(virtual, "ONLINE_CPUS", str(tmp_path / "online"))
    monkeypatch.setattr(virtual, "OWN_CGROUPS", str(tmp_path / "own"))
    monkeypatch.setattr(virtual, "CGROUP_ROOT", str(tmp_path / "cgroup"))

    def write(own: str, **files: str) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


V1 = "4:cpu,cpuacct:/docker/ab12\n3:cpuset:/docker/ab12\n"


@pytest.mark.parametrize(
    ("own", "files", "allowed"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/\n", {"cpuset.cpus.effective": "0-2,5"}, 4),
        ("0::/kube/pod\n", {"kube/cpu.max": "100000 100000", "kube/pod/cpu.max": "max 100000"}, 1),
        ("0::/a\n", {"unified/a/cpu.max": "300000 100000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu,cpuacct/docker/ab12/cpu.cfs_quota_us": "200000",
              "cpu,cpuacct/docker/ab12/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpuset/docker/ab12/cpuset.effective_cpus": "1,3"}, 2),
        ("0::/\n", {"cpu.max": "many of them"}, None),
        ("0::/\n", {"cpu.max": "100 0", "cpuset.cpus.effective": "x"}, None),
        ("", {"cpu.max": "100000 100000"}, None),
    ],
)  # fmt: skip
def test_the_limits_of_control_groups(host, own, files, allowed):
    host(own, **files)
    assert allowed_cpus() == allowed


@pytest.mark.parametrize(("quota", "attributed"), [("200000", True), ("800000", False)])
def test_a_limited_container_shares_the_hosts_joules(tmp_path, host, quota, attributed):
    host("0::/\n", **{"cpu.max": f"{quota} 100000"})
    tree = Tree(tmp_path / "tree", LAYOUTS["single"])
    with PowercapMeter(tree.root, cpuinfo=tree.cpuinfo) as meter:
        assert (meter.provenance == "attributed") is attributed
        note = "may use 2 of 8 CPUs, and the counters have the joules of all"
        assert any(note in each for each in meter.notes) is attributed
    with PowercapMeter(tree.root, cpuinfo=tree.cpuinfo, trust_sensor=True) as meter:
        assert meter.provenance == "measured"


def test_a_machine_without_control_groups_has_no_limit(host):
    assert allowed_cpus() is None
