"""What a run records of its software."""

from __future__ import annotations

import platform
import sys

import pytest

from pytest_energy.runs import software
from pytest_energy.runs.software import describe_software, software_differences

PYTHON = f"{platform.python_implementation()} {platform.python_version()}"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with a module of its name, and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(name: str, version: str, url: str | None = None, requires: str = "") -> None:
        (tmp_path / f"{name}.py").touch()
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requires}"] if requires else []
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "top_level.txt").write_text(f"{name}\n")
        if url:
            (folder / "direct_url.json").write_text(f'{{"url": "{url}"}}')
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
        software._owners.cache_clear()
        software._tools.cache_clear()

    yield installed
    software._owners.cache_clear()
    software._tools.cache_clear()


def test_imported_distributions_are_recorded_with_their_versions(install):
    install("fastmath", "3.4.5")
    seen = software.software()
    assert seen["python"] == PYTHON
    assert seen["distributions"]["fastmath"] == "3.4.5"
    assert "pytest" not in seen["distributions"]


def test_what_is_not_imported_is_not_recorded(install, monkeypatch):
    install("fastmath", "3.4.5")
    monkeypatch.delitem(sys.modules, "fastmath")
    assert "fastmath" not in software.software()["distributions"]


def test_plugins_and_what_they_require_are_not_recorded(install, tmp_path):
    install("someplugin", "1.0", requires="helper>=1; python_version > '3'")
    install("helper", "2.0")
    points = tmp_path / "someplugin-1.0.dist-info" / "entry_points.txt"
    points.write_text("[pytest11]\nsome = someplugin\n")
    assert not {"someplugin", "helper"} & set(software.software()["distributions"])


@pytest.mark.parametrize(
    ("url", "recorded"), [("file:///src/theirs", False), ("https://example.org/theirs.whl", True)]
)
def test_local_installations_are_the_code_under_test(install, url, recorded):
    install("theirs", "0.1", url)
    assert ("theirs" in software.software()["distributions"]) == recorded


def test_only_what_both_record_can_differ():
    ours = {"python": "CPython 3.13.0", "distributions": {"a": "1", "b": "1"}}
    assert software_differences(ours, {}) == ""
    assert software_differences(ours, {"distributions": {"b": "2", "c": "3"}}) == "b: 1 / 2"
    assert describe_software(ours) == "CPython 3.13.0, a 1, b 1"
    assert describe_software({}) == "Python not recorded"
