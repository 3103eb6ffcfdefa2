"""The two distributions: their contents and sizes, and each installed in an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling, which builds the wheels, is not installed")

ROOT = Path(__file__).parents[2]
PROJECTS = {"pytest_energy": ROOT, "tsbench": ROOT / "tsbench"}
# The goal is 250 kB, and it is missed: the limit only makes growth visible. The split wheel had
# 206 kB. Counted work, attributed joules, recovery of meters, memory layouts, the gates' exit
# codes, phases, notebooks, the site of pages, other programs' CPU time, GPU clocks, Windows's meter
# and processes kept for a suite came later. Comments and docstrings are 88 kB of it, the zip's own
# entries 24 kB.
MAX_PYTEST_ENERGY_BYTES = 405_000
MAX_TSBENCH_BYTES = 9_500_000  # 8.6 MB of it are models, of three sets


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    for project in PROJECTS.values():
        subprocess.run([*build, "-d", str(folder)], cwd=project, check=True, capture_output=True)
    return folder


def wheel(built: Path, name: str) -> Path:
    (found,) = built.glob(f"{name}-*.whl")
    return found


def names(archive: Path) -> set[str]:
    """The paths in a wheel or an sdist, without the sdist's top folder."""
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as opened:
        return {name.partition("/")[2] for name in opened.getnames()}


@pytest.fixture
def environment(built, tmp_path):
    """A function that makes an environment with the given wheels and gives its interpreter.

    It finds the dependencies by links to this environment's packages. Editable installs and their
    entry points are not among them.
    """
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for each in Path(pytest.__file__).parents[1].iterdir():
        if not each.name.startswith(("pytest_energy", "tsbench", "_editable", "__editable")):
            (dependencies / each.name).symlink_to(each)

    def make(*wheels: str) -> Path:
        folder = tmp_path / "-".join(wheels)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(run(python, "-c", purelib, cwd=tmp_path).stdout.strip())
        (site / "dependencies.pth").write_text(str(dependencies), encoding="utf8")
        pip = ("-m", "pip", "--python", python, "--disable-pip-version-check", "install")
        offline = ("--quiet", "--no-deps", "--no-index")
        run(Path(sys.executable), *pip, *offline, *(wheel(built, name) for name in wheels))
        return python

    return make


def run(python: Path, *arguments: object, cwd: Path | None = None, **variables: str):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=cwd,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("name", "limit"),
    [("pytest_energy", MAX_PYTEST_ENERGY_BYTES), ("tsbench", MAX_TSBENCH_BYTES)],
)
def test_a_wheel_holds_its_own_package_and_is_small(built, name, limit):
    path = wheel(built, name)
    packaged = {each for each in names(path) if ".dist-info/" not in each}
    assert {each.partition("/")[0] for each in packaged} == {name}
    assert path.stat().st_size < limit
    sources = {
        each.relative_to(ROOT).as_posix()
        for each in (ROOT / name).rglob("*.py")
        if "build" not in each.parts
    }
    assert {each for each in packaged if each.endswith(".py")} == sources


def test_the_wheels_hold_their_data_files(built):
    energy, tsbench = (names(wheel(built, name)) for name in PROJECTS)
    assert {"pytest_energy/runs/run.schema.json", "pytest_energy/py.typed"} <= energy
    assert {f"pytest_energy/report/page.{kind}" for kind in ("html", "css", "js")} <= energy
    shipped = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tsbench" / "checkpoints").iterdir()
        if path.suffix in (".safetensors", ".md")
    }
    assert shipped and shipped | {"tsbench/py.typed"} <= tsbench
    assert not {"tsbench/pyproject.toml", "tsbench/README.md"} & tsbench


def test_both_distributions_have_one_version_and_complete_metadata(built):
    metadata = {}
    for name in PROJECTS:
        with zipfile.ZipFile(wheel(built, name)) as opened:
            (path,) = (each for each in opened.namelist() if each.endswith("/METADATA"))
            lines = opened.read(path).decode().splitlines()
        metadata[name] = lines
        keys = {line.partition(":")[0] for line in lines}
        assert {"Author", "License-Expression", "License-File", "Classifier"} <= keys
        assert sum(line.startswith("Project-URL:") for line in lines) >= 4
    energy, tsbench = (
        {line for line in lines if line.startswith("Version:")} for lines in metadata.values()
    )
    assert energy == tsbench
    assert "Requires-Dist: pytest-energy" in metadata["tsbench"]
    assert not [line for line in metadata["pytest_energy"] if "torch" in line]
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "tsbench" / "LICENSE").read_bytes()


def test_tsbench_can_be_built_from_its_sdist(built, tmp_path):
    (source,) = built.glob("tsbench-*.tar.gz")
    with tarfile.open(source) as opened:
        opened.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    build = ("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again")
    run(Path(sys.executable), *build, cwd=folder)
    (again,) = (tmp_path / "again").iterdir()
    assert names(again) == names(wheel(built, "tsbench"))


def test_the_source_of_pytest_energy_holds_what_its_tests_need(built):
    (source,) = built.glob("pytest_energy-*.tar.gz")
    found = names(source)
    needed = ("pyproject.toml", "constraints.txt", "Makefile", "README.md")
    assert {*needed, "tests/energy/test_gate.py", "benchmarks/conftest.py"} <= found
    generated = (".venv", ".git/", ".nox", ".benchmarks")
    assert not [name for name in found if name.startswith(generated)]


def test_pytest_energy_works_without_tsbench(environment, tmp_path):
    python = environment("pytest_energy")
    missing = "import importlib.util as u; assert u.find_spec('tsbench') is None"
    run(python, "-c", missing, cwd=tmp_path)
    where = "import pytest_energy; print(pytest_energy.__file__)"
    assert str(python.parents[1]) in run(python, "-c", where, cwd=tmp_path).stdout
    (tmp_path / "test_it.py").write_text("def test_it(energy):\n    energy(sum, range(10_000))\n")
    options = ("--energy", "--energy-meter", "estimate", "--energy-max-time", "0.3")
    done = run(
        python, "-m", "pytest", "test_it.py", "-p", "no:cacheprovider", *options, cwd=tmp_path
    )
    assert "1 passed" in done.stdout and "ESTIMATED" in done.stdout


@pytest.mark.slow
def test_tsbench_measures_where_both_are_installed(environment, tmp_path):
    pytest.importorskip("torch")
    python = environment("pytest_energy", "tsbench")
    where = "import tsbench; print(tsbench.__file__)"
    assert str(python.parents[1]) in run(python, "-c", where, cwd=tmp_path).stdout
    command = ("measure", "PLAID", "student", "--variant", "l1_unstructured", "--batch", "1")
    done = run(
        python,
        *("-m", "tsbench", *command, "--max-time", "0.3"),
        cwd=tmp_path,
        TSBENCH_CACHE=str(tmp_path / "cache"),
        TSBENCH_OFFLINE="1",
    )
    assert "l1_unstructured" in done.stdout and "Greenup" in done.stdout
