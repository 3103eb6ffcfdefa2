"""The identity of a machine, and the folder for its configuration."""

import os
import subprocess
import sys

import pytest

from pytest_energy import machine
from pytest_energy.errors import OptionError
from pytest_energy.machine import config_folder, fingerprint

# Implementer, part, variant and revision of one ARM core, in Linux's format.
ALTRA = ("0x41", "0xd0c", "0x3", 1)
GRACE = ("0x41", "0xd4f", "0x0", 0)
SMALL, BIG = ("0x41", "0xd05", "0x1", 0), ("0x41", "0xd0b", "0x4", 0)
COBALT_OF_ANOTHER_MAKER = ("0x6d", "0xd49", "0x0", 0)


def seen(tmp_path, cpuinfo="", meminfo="", product=""):
    files = {"cpuinfo": cpuinfo, "meminfo": meminfo, "product": product}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return fingerprint(
        **{name: str(tmp_path / name) for name in files}, board_model=str(tmp_path / "none")
    )


def arm(*cores):
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: {variant}\n"
        f"CPU part\t: {part}\nCPU revision\t: {revision}\n\n"
        for number, (implementer, part, variant, revision) in enumerate(cores)
    )


@pytest.mark.parametrize(
    ("cores", "cpu"),
    [
        ((ALTRA, ALTRA), "Neoverse-N1 r3p1"),
        ((GRACE,), "Neoverse-V2 r0p0"),
        ((SMALL, SMALL, BIG), "Cortex-A55 r1p0, Cortex-A76 r4p0"),
        ((COBALT_OF_ANOTHER_MAKER,), "implementer 0x6d part 0xd49 r0p0"),
    ],
)
def test_an_arm_cpu_gets_its_name_from_its_numbers(tmp_path, cores, cpu):
    assert seen(tmp_path, arm(*cores))["cpu"] == cpu


def test_arm_servers_with_the_same_core_differ_by_product(tmp_path):
    one = seen(tmp_path, arm(ALTRA), product="c7g.metal\n")
    other = seen(tmp_path, arm(ALTRA), product="Mt. Jade\n")
    assert one["device"] == "c7g.metal" and one != other


@pytest.mark.parametrize(
    ("cpuinfo", "cpu"),
    [
        ("model\t\t: 1\nmodel name\t: EPYC 9005\n\nmodel name\t: other\n", "EPYC 9005"),
        ("processor : 0\ncpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("hart\t: 0\nisa\t: rv64imafdc\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc"),
        (arm(SMALL) + "Hardware\t: BCM2711\nModel\t: a board\n", "BCM2711"),
    ],
)
def test_each_architecture_has_its_own_key_for_the_cpu_name(tmp_path, cpuinfo, cpu):
    found = seen(tmp_path, cpuinfo, product="a product")
    assert found["cpu"] == cpu and "device" not in found


@pytest.mark.parametrize("cpuinfo", ["", "model name\t: unknown\n", "CPU implementer\t: none\n"])
@pytest.mark.parametrize("processor", ["", "aarch64", "x86_64"])
def test_an_architecture_is_not_a_cpu_name(tmp_path, monkeypatch, cpuinfo, processor):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.platform, "processor", lambda: processor)
    assert seen(tmp_path, cpuinfo)["cpu"] == machine.UNKNOWN_CPU


def test_the_cpu_name_on_windows_comes_from_the_platform_module(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.platform, "processor", lambda: "Intel64 Family 6 Model 158, Intel")
    assert seen(tmp_path)["cpu"] == "Intel64 Family 6 Model 158, Intel"


@pytest.mark.parametrize(
    ("before_kib", "after_kib", "gib"), [(7_863_000, 7_867_000, 8), (33_029_000, 33_032_000, 32)]
)
def test_small_differences_in_memory_are_the_same_machine(tmp_path, before_kib, after_kib, gib):
    for kib in (before_kib, after_kib):
        assert seen(tmp_path, meminfo=f"MemTotal: {kib} kB\n")["memory_gib"] == gib


def no_home(monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def raise_as_pathlib_does():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(machine.Path, "home", raise_as_pathlib_does)


def test_without_a_home_folder_the_error_names_the_remedy(monkeypatch):
    no_home(monkeypatch)
    with pytest.raises(OptionError, match="no home folder.*XDG_CONFIG_HOME"):
        config_folder()


def test_without_a_home_folder_estimate_and_noise_use_defaults(monkeypatch):
    from pytest_energy.meters import MeterSettings, open_meter
    from pytest_energy.runs.noise import DEFAULT_NOISE, load_noise

    no_home(monkeypatch)
    monkeypatch.delenv("PYTEST_ENERGY_CALIBRATION", raising=False)
    with open_meter("estimate", MeterSettings()) as meter:
        assert meter.provenance == "estimated"
    assert load_noise({}, "estimate") == DEFAULT_NOISE


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root becomes any uid")
def test_a_uid_without_a_passwd_entry_is_a_clear_error(tmp_path):
    script = (
        "import os; os.setuid(54321)\n"
        "from pytest_energy import machine\n"
        "try: machine.config_folder()\n"
        "except machine.OptionError: print('clear')\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CONFIG_HOME")}
    # Imported as root: the other user may be unable to read the files.
    imported_first = "import pytest_energy.machine, pwd, ctypes\n"
    done = subprocess.run(
        [sys.executable, "-c", imported_first + script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "clear\n"
