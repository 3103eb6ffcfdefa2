"""The commands read the settings that pytest reads, from the file that pytest takes."""

from __future__ import annotations

import argparse

import pytest

from pytest_energy import cli
from pytest_energy.cli.arguments import add_options, read_options
from pytest_energy.cli.project_settings import read_project_settings
from pytest_energy.errors import OptionError

FILES = {
    "pytest.ini": "[pytest]\nenergy_tolerance = 7%\n",
    ".pytest.ini": "[pytest]\nenergy_tolerance = 7%\n",
    "pyproject.toml": '[tool.pytest.ini_options]\nenergy_tolerance = "7%"\n',
    "tox.ini": "[tox]\n[pytest]\nenergy_tolerance = 7%\n",
    "setup.cfg": "[tool:pytest]\nenergy_tolerance = 7%\n",
}
NATIVE_FILES = {
    "pytest.toml": '[pytest]\nenergy_tolerance = "7%"\n',
    ".pytest.toml": '[pytest]\nenergy_tolerance = "7%"\n',
    "pyproject.toml": '[tool.pytest]\nenergy_tolerance = "7%"\n',
}


@pytest.mark.parametrize("name", FILES)
def test_the_commands_and_pytest_read_the_same_file(pytester, name):
    (pytester.path / name).write_text(FILES[name], encoding="utf8")
    folder = pytester.mkdir("deeper")
    assert read_project_settings(folder).values["energy_tolerance"] == "7%"
    assert pytester.parseconfig().getini("energy_tolerance") == "7%"


@pytest.mark.parametrize("name", NATIVE_FILES)
def test_the_files_of_pytest_9_count_only_beside_pytest_9(pytester, name):
    (pytester.path / name).write_text(NATIVE_FILES[name], encoding="utf8")
    expected = pytester.parseconfig().getini("energy_tolerance") or None
    assert read_project_settings(pytester.path).values.get("energy_tolerance") == expected
    assert (expected == "7%") == (pytest.version_tuple >= (9,))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pytest.ini": "", "tox.ini": FILES["tox.ini"]}, None),  # pytest.ini counts without one
        ({"pyproject.toml": "[project]\nname='x'\n", "tox.ini": FILES["tox.ini"]}, "7%"),
        ({"pyproject.toml": "[tool.pytest]\n", "tox.ini": FILES["tox.ini"]}, "7%"),
        ({"setup.cfg": "[metadata]\n"}, None),
        ({}, None),
    ],
    ids=["an empty pytest.ini", "another section", "an empty table", "no section", "no file"],
)
def test_the_first_file_with_a_section_counts(pytester, files, expected):
    for name, text in files.items():
        (pytester.path / name).write_text(text, encoding="utf8")
    assert read_project_settings(pytester.path).values.get("energy_tolerance") == expected
    assert (pytester.parseconfig().getini("energy_tolerance") or None) == expected


def read(folder, monkeypatch, *arguments):
    monkeypatch.chdir(folder)
    parser = argparse.ArgumentParser()
    add_options(parser, "tolerance", "strict", "meter")
    return read_options(parser.parse_args(arguments), "tolerance", "strict", "meter")


def test_the_command_line_comes_before_the_project_and_that_before_the_default(
    tmp_path, monkeypatch
):
    assert read(tmp_path, monkeypatch).plan.tolerance == 0.03
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nenergy_tolerance = 7%\nenergy_strict = yes\n", encoding="utf8"
    )
    options = read(tmp_path, monkeypatch)
    assert (options.plan.tolerance, options.strict, options.meter) == (0.07, True, "auto")
    assert read(tmp_path, monkeypatch, "--tolerance=5%").plan.tolerance == 0.05


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("energy_tolerance = lots", r"energy_tolerance of .*pytest\.ini takes a share .*'lots'"),
        ("energy_strict = perhaps", r"energy_strict of .*pytest\.ini takes true or false"),
    ],
)
def test_a_bad_setting_is_named_with_its_file(tmp_path, monkeypatch, line, message):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{line}\n", encoding="utf8")
    with pytest.raises(OptionError, match=message):
        read(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("pyproject.toml", "[tool.pytest"), ("pyproject.toml", "tool.pytest = 3\n")],
        *[("pytest.ini", "no section\n"), ("tox.ini", "\xff\x00")],
    ],
)
def test_a_broken_file_is_one_line(tmp_path, monkeypatch, name, text, capsys):
    (tmp_path / name).write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor"]) == 2
    assert name in capsys.readouterr().err
