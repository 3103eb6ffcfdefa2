"""The matrix: `nox` runs how we get on with every pytest, pytest-benchmark and neighbouring plugin (tests/energy/test_citizenship.py and
test_misbehaving.py), each in an environment of its own, without torch. Its table is in docs/reliability.md. `nox -p 3.11` runs
those of one Python, `nox -s "matrix-3.13(newest-newest)"` one; a Python that is not on PATH is passed over.
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
# (pytest, pytest-benchmark); "" is the newest.
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
    tests = ("tests/energy/test_citizenship.py", "tests/energy/test_misbehaving.py")
    # Neighbours are switched on by the tests that are about them.
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
