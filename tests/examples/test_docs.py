"""The examples of README and docs/: Python is run, commands are parsed, ini and toml are read.

Each block is listed in RUN or in NOT_RUN. A block that is in neither fails, so that a new example
is always tested.
"""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_energy.cli.record import split_command
from pytest_energy.options import OPTIONS
from scripts import links, reference
from tsbench.sweep.spec import read as read_spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf8") for path in links.PAGES}
FAST = ("--energy-max-time", "0.5")

# The test that runs a block of Python, by words of the block.
RUN = {
    ("README.md", "def test_pruned"): "test_the_tests_of_an_example_pass",
    ("docs/history.md", "zlib.decompress"): "test_blocks_are_unpacked_by_hand",
    ("docs/start.md", "def test_rounded"): "test_one_of_the_first_tests_fails_with_its_limit",
    ("docs/start.md", "def test_pipeline"): "test_the_tests_of_an_example_pass",
    ("docs/start.md", "%load_ext"): "test_notebook.py",
    ("docs/start.md", "open_meter"): "test_the_example_without_pytest_prints_every_figure",
    (
        "docs/start.md",
        "def pytest_energy_synchronize",
    ): "test_the_hook_of_the_example_is_one_that_there_is",
    ("docs/your-model.md", "test_small_instead_of_large"): "test_your_model.py",
    ("docs/your-model.md", "def test_compressed"): "test_your_model.py",
    ("docs/your-model.md", "results = tsbench.compress"): "test_your_model.py",
    ("docs/your-model.md", "def test_linear"): "test_your_model.py",
    ("docs/your-model.md", "def test_network"): "test_your_model.py",
    ("docs/your-model.md", "Split(cases, labels)"): "test_your_model.py",
    ("docs/write-a-meter.md", "class FixedMeter"): "test_write_your_own.py",
    ("docs/write-a-variant.md", 'Variant("rounded"'): "test_write_your_own.py",
}
# Blocks that are neither commands nor runnable code, and why.
NOT_RUN = {
    ("README.md", "text"): "test_the_output_shown_is_of_the_kind_that_the_example_prints",
    ("docs/index.md", "text"): "test_the_output_shown_is_of_the_kind_that_the_example_prints",
    ("docs/start.md", "text"): "test_the_output_shown_is_of_the_kind_that_the_example_prints",
    ("docs/failed.md", "text"): "a row of a run: tests/energy/report/test_terminal.py",
    ("docs/reading.md", "text"): "output of make bench, which takes minutes",
    ("docs/techniques.md", "text"): "printed on one machine: tests/tsbench/compression",
    ("docs/meters.md", "text"): "a warning of a busy machine: tests/energy/measuring",
    ("docs/ci.md", "yaml"): "for another repository: tests/energy/cli/test_workflow.py",
}
# Programs that are not ours. Their arguments are not checked.
NOT_OURS = {"ray", "curl", "pre-commit", "git"}

# Commands that are run as shown, in this order, in a repository with the tests of docs/start.md.
# Where two runs of the same code are compared, a chance regression is a right answer too.
FINE, FAILS, BY_CHANCE = {0}, {1}, {0, 1}
WALK: dict[str, set[int]] = {
    "pytest-energy doctor": FINE,
    "pytest test_mine.py": FINE,
    "pytest test_mine.py --energy": FAILS,
    "pytest test_mine.py --energy --benchmark-autosave": FAILS,
    "pytest --energy --energy-against main": BY_CHANCE,
    "pytest --energy --energy-compare": BY_CHANCE,
    "pytest-energy compare old.json new.json": BY_CHANCE,
    "pytest-energy history .benchmarks": FINE,
    "pytest-energy history .benchmarks --test batch1 --last 100": FINE,
    "pytest-energy history .benchmarks --format json": FINE,
    "pytest-energy report .benchmarks -o page.html": FINE,
    "pytest-energy report .benchmarks -o energy.html": FINE,
    "pytest-energy report run.json -o energy.html": FINE,
    "pytest-energy report old.json new.json -o change.html": FINE,
    "pytest-energy report .benchmarks --site public": FINE,
    "pytest-energy export run.json --format openmetrics -o metrics.txt": FINE,
    "pytest-energy export .benchmarks -o runs.csv": FINE,
    "pytest-energy export .benchmarks --format parquet -o runs.parquet": FINE,
    "pytest-energy export run.json --format prometheus": FINE,
    "tsbench variants": FINE,
}
# The package without which a command only reports that it is missing.
NEEDS = {"report": "vl_convert", "parquet": "pyarrow", "tsbench": "torch"}
# All others, by their beginning: which test runs the same, or why none does.
NOT_WALKED = {
    "make test": "runs these tests",
    "make check": "runs these tests",
    "make coverage": "runs these tests",
    "make lint": "CI runs it",
    "make docs": "test_the_site_builds_without_a_warning",
    "make reference": "tests/docs/test_reference.py",
    "make help": "prints the comments of the Makefile",
    "make bench": "minutes; tests/tsbench/test_benchmarks.py runs the suite",
    "pip install": "tests/examples/test_wheel.py installs the wheel; an index is not asked",
    "pre-commit": "not ours",
    "ray": "tests/tsbench/sweep/test_sweep_ray.py starts a cluster",
    "curl": "not ours",
    "git": "not ours",
    "tsbench compress": "tests/tsbench/cli/test_compress.py compresses another file",
    "tsbench sweep": "tests/tsbench/sweep/test_sweep_ray.py, tests/tsbench/sweep/test_sweep.py",
    "tsbench table": "tests/tsbench/sweep/test_sweep.py",
    "tsbench measure plaid t1": "tests/tsbench/cli/test_cli.py measures a smaller model",
    "tsbench measure PLAID student --variant rounded": "test_write_your_own.py",
    "pytest --energy --energy-count": "tests/energy/plugin/test_count.py",
    "pytest --energy-count": "tests/energy/plugin/test_count.py",
    "pytest-energy pull-request": "tests/energy/cli/test_workflow.py",
    "pytest-energy bisect": "tests/energy/commits/test_bisect.py",
    "pytest --energy --energy-meter fixed:12": "test_write_your_own.py",
    "pytest benchmarks": "minutes; tests/tsbench/test_benchmarks.py runs the suite, "
    "tests/energy/report/test_page.py makes a page",
    "python -m studies.limits": "tests/tsbench/studies/test_limits.py",
    "python -m studies.paper": "tests/tsbench/studies/test_paper.py",
    "python -m scripts.sample_run": "tests/docs/test_pictures.py",
    "python -m scripts.pictures": "pictures of the docs, taken by hand",
    "python -m studies": "a study of minutes, run by hand",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and text of each block in a language."""
    fence = re.compile(rf"^[ ]*```{language}\n(.*?)^[ ]*```", re.DOTALL | re.MULTILINE)
    return [(page, text) for page, content in PAGES.items() for text in fence.findall(content)]


def example(page: str, words: str) -> str:
    (found,) = [text for of, text in blocks("python") if of == page and words in text]
    return found


def commands() -> list[tuple[str, str]]:
    """Page and text of each command shown; in a console block output follows it."""
    shown = []
    lines_shown = [
        (page, [line[2:] for line in text.splitlines() if line.startswith("$ ")])
        for page, text in blocks("console")
    ]
    lines_shown += [(page, text.splitlines()) for page, text in blocks("sh")]
    for page, lines in lines_shown:
        parts = [
            re.sub(r"^\w+=\$\((.*)\)$", r"\1", part)  # a variable that holds a command's output
            for line in lines
            for part in re.split(r" \| | && ", re.sub(r"\s+#.*", "", line))
        ]
        shown += [(page, part) for part in parts]
    return shown


def test_every_block_is_run_or_said_why_not():
    languages = {
        (page, language)
        for page, text in PAGES.items()
        for language in re.findall(r"^ *```(\w+)", text, re.MULTILINE)
    }
    looked_at = {"python", "console", "sh", "ini", "toml"}
    assert {(page, language) for page, language in languages if language not in looked_at} == set(
        NOT_RUN
    )
    assert all(
        name in globals() or (Path(__file__).parent / name).is_file() for name in RUN.values()
    )
    for page, text in blocks("python"):
        assert [words for of, words in RUN if of == page and words in text], (
            f"nothing runs this block of {page}:\n{text}"
        )


@pytest.mark.parametrize("options", [(), ("--energy", *FAST)], ids=["off", "on"])
@pytest.mark.parametrize(
    ("page", "words", "tests"),
    [("README.md", "def test_pruned", 1), ("docs/start.md", "def test_pipeline", 1)],
)
def test_the_tests_of_an_example_pass(pytester, page, words, tests, options):
    pytester.makepyfile(example(page, words))
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=tests)


@pytest.fixture
def first_run(pytester):
    """The tests of docs/start.md, run with ``--energy`` by the estimate."""
    pytester.makepyfile(example("docs/start.md", "def test_rounded"))
    return pytester.runpytest_subprocess("--energy", "--energy-meter=estimate")


def test_one_of_the_first_tests_fails_with_its_limit(pytester, first_run):
    """On a laptop without a sensor, too: the limit is one of time."""
    first_run.assert_outcomes(passed=2, failed=1)
    first_run.stdout.fnmatch_lines(["    speedup 0.* asked at least 1.2"])
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_the_output_shown_is_of_the_kind_that_the_example_prints(first_run):
    """The same rows, columns and words; the numbers are of another machine."""

    def shape(lines):
        found = [re.sub(r"[\d.]+ ?[µmn]?[sJ]?", "0", " ".join(line.split())) for line in lines]
        return [re.sub(r"(±0 %|[×])", "", line).rstrip() for line in found]

    printed = shape(first_run.outlines)
    for page in ("docs/start.md", "docs/index.md"):
        (shown,) = re.findall(r"```text\n(3 tests.*?)```", PAGES[page], re.DOTALL)
        assert set(shape(shown.splitlines())) <= set(printed), page


def test_the_example_without_pytest_prints_every_figure():
    code = example("docs/start.md", "open_meter")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in (
        r"sum: \d+ windows\n  time +[\d.]+ \S+ \[",
        r"against <lambda>: \d+ blocks\n  time +-\d+ % \[.*\]\n  speedup",
        r"load: 1 window\n(.*\n)*  warning: measured once",
    ):
        assert re.search(line, done.stdout), done.stdout
    assert len(re.findall("joules (measured|ESTIMATED) by", done.stdout)) == 3


def test_blocks_are_unpacked_by_hand():
    code = example("docs/history.md", "zlib.decompress")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "AB\n"


def test_the_hook_of_the_example_is_one_that_there_is(pytester):
    pytester.makeconftest(example("docs/start.md", "def pytest_energy_synchronize"))
    result = pytester.runpytest_subprocess(
        "--energy"
    )  # an unknown hook would be refused by pluggy's validation
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(("page", "text"), blocks("ini"))
def test_ini_keys_are_there(page, text):
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert set(parser["pytest"]) <= {option.ini for option in OPTIONS}


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_toml_is_toml(page, text, tmp_path):
    found = tomllib.loads(text)
    if "datasets" in found:  # what `tsbench sweep` reads
        (tmp_path / "spec.toml").write_text(text, encoding="utf8")
        assert read_spec(tmp_path / "spec.toml").datasets == tuple(found["datasets"])
    else:
        assert found["project"]["entry-points"]


@cache
def options_of_pytest() -> set[str]:
    """Every option of pytest with our plugin and of the suite, which needs torch."""
    helped = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pytest.importorskip("torch")
    return {
        *re.findall(r"(?<!\S)(--?[a-zA-Z][\w-]*)", helped.stdout),
        *(flag for flag, _ in reference.suite_options().options),
    }


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_would_be_understood(page, command):
    program, *arguments = shlex.split(command)
    if program == "pytest":
        given = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
        assert given <= options_of_pytest()
    elif program in ("pytest-energy", "tsbench"):
        before, _ = split_command(arguments)
        reference.programs()[program].parse_args(
            before
        )  # ends the test with its message where it is wrong
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets
    elif program == "python":
        named = arguments[1].replace(".", "/") + ".py" if arguments[0] == "-m" else arguments[0]
        assert (ROOT / named).is_file()
    elif program == "pip":
        assert arguments[0] == "install"
    else:
        assert program in NOT_OURS


def test_every_command_is_run_or_said_why_not():
    shown = {command for _, command in commands()}
    assert set(WALK) <= shown, "a command that no page shows any more"
    assert [
        begun for begun in NOT_WALKED if not any(command.startswith(begun) for command in shown)
    ] == []
    unsaid = {
        command
        for command in shown
        if command not in WALK and not command.startswith(tuple(NOT_WALKED))
    }
    assert unsaid == set()
    tests = {path for said in NOT_WALKED.values() for path in re.findall(r"tests/[\w/]+\.py", said)}
    assert [path for path in tests if not (ROOT / path).is_file()] == []


@pytest.mark.slow
def test_commands_do_what_they_are_shown_for(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTEST_ADDOPTS", f"-p no:hypothesispytest -p no:cacheprovider {'='.join(FAST)}"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "test_mine.py").write_text(
        example("docs/start.md", "def test_rounded"), encoding="utf8"
    )
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@example.org")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        ("commit", "--quiet", "-m", "All of it"),
    ):
        subprocess.run([*git, *arguments], cwd=folder, check=True)
    modules = {"pytest": "pytest", "pytest-energy": "pytest_energy", "tsbench": "tsbench"}
    for command, codes in WALK.items():
        if any(word in NEEDS and find_spec(NEEDS[word]) is None for word in command.split()):
            continue
        program, *arguments = shlex.split(command)
        line = [sys.executable, "-m", modules[program], *arguments]
        done = subprocess.run(
            line, cwd=folder, capture_output=True, encoding="utf8", timeout=300, check=False
        )
        assert done.returncode in codes, f"{command}\n{done.stdout}{done.stderr}"
        saved = sorted(folder.glob(".benchmarks/*/*.json"))
        for name in ("old.json", "new.json", "run.json") if saved else ():
            shutil.copy(saved[-1], folder / name)
    assert all((folder / name).stat().st_size for name in ("page.html", "runs.csv"))


# The groups "Use it" and "Add to it" of the navigation, but for what is made from the code
# (reference.md, api.md). The other group has studies, and pages for those who choose a tool.
USER_PAGES = (
    *("README.md", "docs/index.md", "docs/start.md", "docs/failed.md", "docs/reading.md"),
    *("docs/ci.md", "docs/counted-work.md", "docs/your-model.md", "docs/report.md"),
    *("docs/fleet.md", "docs/write-a-meter.md", "docs/write-a-variant.md"),
)
MOST_WORDS = 8_000
MOST_COLUMNS = 100


@pytest.mark.parametrize("page", USER_PAGES)
def test_what_is_copied_has_no_prompt_and_no_comment(page):
    """The site cuts wide blocks, so words stand in the text."""
    assert "```console" not in PAGES[page]
    for _, text in [block for block in blocks("sh") if block[0] == page]:
        assert not [line for line in text.splitlines() if line.startswith("$ ") or " # " in line]


def test_user_pages_have_at_most_8000_words():
    assert sum(len(PAGES[page].split()) for page in USER_PAGES) <= MOST_WORDS


@pytest.mark.parametrize("page", USER_PAGES)
def test_lines_of_user_pages_have_at_most_100_columns(page):
    """But for tables and addresses, which cannot be broken."""
    long = [line for line in PAGES[page].splitlines() if len(line) > MOST_COLUMNS]
    assert [line for line in long if not line.startswith("|") and "http" not in line] == []


def test_every_option_that_is_named_is_there():
    """Anywhere in a page, not only in blocks."""
    known = {flag for flag, _ in reference.pytest_options().options}
    for page, text in PAGES.items():
        named = set(re.findall(r"(?<![\w-])(--energy(?:-[a-z]+)*)", text))
        assert named <= known, f"{page} names options that there are not: {sorted(named - known)}"


def test_readme_fits_on_one_screen():
    assert len(PAGES["README.md"].splitlines()) <= 60


def test_no_link_of_ours_is_broken():
    assert links.broken() == []


def test_every_page_is_in_the_navigation():
    config = (ROOT / "zensical.toml").read_text(encoding="utf8")
    in_navigation = re.findall(r'"([\w-]+\.md)"', config)
    assert sorted(in_navigation) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.skipif(
    find_spec("zensical") is None, reason="zensical, the group docs, is not installed"
)
def test_the_site_builds_without_a_warning(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "zensical.toml").write_text(
        (ROOT / "zensical.toml").read_text(encoding="utf8"), encoding="utf8"
    )
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(
        build, cwd=tmp_path, capture_output=True, encoding="utf8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build" / "site" / "reference.html").is_file()
