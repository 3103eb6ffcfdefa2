"""os._exit of a test: test_ungated.py has the rest."""

from __future__ import annotations

import os

import pytest

from tests.energy.plugin.test_ungated import MEASURED


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7, 7)])
def test_os_exit_of_a_child_is_its_own(suite, status, code):
    suite.makepyfile(
        f"""
        import os
        def test_it(energy):
            energy(sum, [1])
            child = os.fork()
            if not child:
                os._exit({status})
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {code}
        """
    )
    assert suite.runpytest_subprocess(*MEASURED).ret == 0


def test_after_the_run_os_is_as_before(suite):
    before = os._exit, os.execv, os.execve
    suite.makepyfile("def test_it(energy): energy(sum, [1])")
    assert suite.runpytest_inprocess(*MEASURED).ret == 0
    assert (os._exit, os.execv, os.execve) == before
