"""`nox` tests the plugin with each supported Python, pytest and pytest-benchmark.

Each session installs the neighbouring plugins into its own environment, without torch, and runs
test_citizenship.py and test_misbehaving.py. docs/reliability.md has the results. `nox -p 3.11` runs
the sessions of one Python, and `nox -s "matrix-3.13(newest-newest)"` runs one session. nox skips a
Python that is not on PATH.
"""

import nox

nox.options.reuse_existing_virtualenvs = True
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NEIGHBOURS = (
    "pytest-xdist",
    "pytest-randomly",
    "pytest-rerunfailures",
    "pytest-cov",
    "pytest-timeout",
    "pytest-asyncio",
)
# (pytest, pytest-benchmark); "" installs the newest.
VERSIONS = [
    ("8.1.*", "5.1.*"),
    ("8.2.*", "5.1.*"),
    ("8.3.*", "5.1.*"),
    ("8.4.*", "5.2.*"),
    ("9.0.*", "5.2.*"),
    ("", ""),
]


@nox.session(python=PYTHONS)
@nox.parametrize(
    ["pytest", "benchmark"],
    VERSIONS,
    ids=[f"{pytest or 'newest'}-{benchmark or 'newest'}" for pytest, benchmark in VERSIONS],
)
def matrix(session: nox.Session, pytest: str, benchmark: str) -> None:
    session.install(
        "--editable",
        ".[report]",
        pinned("pytest", pytest),
        pinned("pytest-benchmark", benchmark),
        *NEIGHBOURS,
    )
    tests = ("tests/energy/plugin/test_citizenship.py", "tests/energy/plugin/test_misbehaving.py")
    # The tests of a neighbouring plugin switch it on themselves.
    session.run(
        "python",
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:randomly",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        *tests,
        *session.posargs,
    )


def pinned(name: str, version: str) -> str:
    return f"{name}=={version}" if version else name
