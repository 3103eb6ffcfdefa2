"""What is built and given to others: all that is needed, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-t",
        "sdist",
        "-d",
        str(folder),
    ]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_schema_and_the_models_and_no_tests(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "pytest_energy",
        "tsbench",
    }
    assert {"pytest_energy/run.schema.json", "pytest_energy/py.typed", "tsbench/py.typed"} <= set(
        names
    )
    assert {f"pytest_energy/report/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    shipped = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tsbench" / "checkpoints").glob("*.safetensors")
    }
    assert shipped and shipped <= set(names)


def test_the_wheel_alone_can_be_imported(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    # -I: neither this folder nor the environment's variables are looked at; what is in front is the wheel.
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import pytest_energy, tsbench; print(pytest_energy.__file__, tsbench.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert all(Path(path).is_relative_to(tmp_path) for path in done.stdout.split())


def test_the_source_holds_what_its_tests_need(built):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "README.md",
        "tests/energy/test_gate.py",
        "benchmarks/conftest.py",
    } <= names
    assert not [
        name for name in names if name.startswith((".venv", ".git/", ".nox", ".benchmarks"))
    ]
