"""The notebook of docs/start.md: its cells run in IPython."""

import pytest

shell_module = pytest.importorskip("IPython.core.interactiveshell")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    return shell_module.InteractiveShell()


def run(shell, cell):
    result = shell.run_cell(cell, store_history=False)
    result.raise_error()
    return result.result


def test_the_line_magic_measures_many_windows(shell):
    run(shell, "%load_ext pytest_energy")
    run(shell, "def work(): return sum(range(1000))")
    measured = run(shell, "%energy work()")
    assert measured.name == "work()"
    assert len(measured.windows) >= 6


def test_the_cell_magic_runs_the_cell_once_and_keeps_its_variables(shell):
    run(shell, "%load_ext pytest_energy")
    run(shell, "runs = 0")
    measured = run(shell, "%%energy count\nruns += 1\ntotal = sum(range(1000))")
    assert measured.name == "count"
    assert len(measured.windows) == 1
    assert shell.user_ns["runs"] == 1
    assert shell.user_ns["total"] == 499500


def test_an_error_in_a_cell_is_the_users(shell):
    run(shell, "%load_ext pytest_energy")
    with pytest.raises(ZeroDivisionError):
        run(shell, "%%energy\n1 / 0")


def test_a_line_magic_without_a_statement_prints_how_to_use_it(shell, capsys):
    run(shell, "%load_ext pytest_energy")
    assert run(shell, "%energy") is None
    assert "%energy takes a statement" in capsys.readouterr().out
