"""``pytest-energy bisect``: halves a history by a question that may stay unanswered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.cli import main
from pytest_energy.commits.bisect import split
from tests.energy.commits.test_against import LIBRARY, SLOWER, git, nothing_left, repo  # noqa: F401 - a fixture


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.sets(st.integers(0, n - 1)))
    )
)
def test_the_culprit_is_always_among_the_suspects(case):
    commits, culprit, unsure = case
    asked = []

    def side(commit):
        asked.append(commit)
        return None if commit in unsure else "bad" if commit >= culprit else "good"

    suspects = split(range(commits), side)
    assert culprit in suspects
    assert len(asked) == len(set(asked))
    # Nothing sure is left unasked between the suspects.
    assert all(commit in unsure for commit in suspects[:-1])


@given(st.integers(1, 2000), st.data())
def test_sure_answers_name_one_commit_in_log_steps(commits, data):
    culprit = data.draw(st.integers(0, commits - 1))
    asked = []
    suspects = split(
        range(commits),
        lambda commit: asked.append(commit) or ("bad" if commit >= culprit else "good"),
    )
    assert suspects == (culprit,)
    assert len(asked) <= commits.bit_length()


def history(repo, culprit, commits):  # noqa: F811
    """Commits on top of ``then``, of which one doubles the work."""
    hashes = []
    for number in range(commits):
        (repo / "library.py").write_text(
            (SLOWER if number >= culprit else LIBRARY) + f"# {number}\n"
        )
        git(repo, "commit", "-qam", f"number {number}")
        hashes.append(git(repo, "rev-parse", "HEAD").strip())
    return hashes


@pytest.mark.slow
def test_it_names_the_commit_and_leaves_git_alone(repo, capsys):  # noqa: F811
    hashes = history(repo, 2, 4)
    (repo / "library.py").write_text("not even python")
    before = git(repo, "status", "--porcelain")
    # It takes a second or two; a busy machine needs longer, or the commit stays undecided.
    assert (
        main(
            [
                "bisect",
                "then",
                "HEAD",
                "test_it.py::test_fixture",
                "--meter",
                "estimate",
                "--max-time",
                "60",
            ]
        )
        == 0
    )
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == f"{hashes[2]} made test_it.py::test_fixture worse"
    )
    assert git(repo, "status", "--porcelain") == before
    nothing_left(repo)


@pytest.mark.slow
def test_nothing_to_bisect_is_one_line_and_exit_2(repo, capsys):  # noqa: F811
    history(repo, 9, 2)
    assert (
        main(
            [
                "bisect",
                "then",
                "HEAD",
                "test_it.py::test_fixture",
                "--meter",
                "estimate",
                "--max-time",
                "0.3",
            ]
        )
        == 2
    )
    assert "is not surely worse than" in capsys.readouterr().err
    nothing_left(repo)


@pytest.mark.parametrize(("good", "bad"), [("HEAD", "then"), ("then", "then")])
def test_commits_the_wrong_way_round_are_refused(repo, capsys, good, bad):  # noqa: F811
    history(repo, 9, 1)
    assert main(["bisect", good, bad]) == 2
    assert "is not an ancestor of" in capsys.readouterr().err
