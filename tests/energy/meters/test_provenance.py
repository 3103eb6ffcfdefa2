"""Rigged sources get the right provenance (studies/provenance.py)."""

import pytest

pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")

from studies.provenance import SOURCES, label_of
from tests.energy.rigs.fake_nvml import NoCompiler


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.what)
def test_a_rigged_source_has_its_label(source):
    try:
        label, domains, why = label_of(source)
    except NoCompiler as error:
        pytest.skip(str(error))
    assert (label, domains) == (source.right, source.domains), why
