"""Ours are found in a fixed order, then those of other packages, by name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from tsbench import variants
from tsbench.errors import UnknownName, VariantUnavailable

# A module of another package, which an entry point names.
MODULE = """
from tsbench.variants import Variant

def make(source):
    def classify(x):
        return -source.model(x)
    return classify

VARIANT = Variant("upside_down", "worst class first", ("torch",), make)
FP32 = Variant("fp32", "in the baseline's name", ("torch",), make)
NOT_ONE = 3
"""


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """Installs a package with these entry points for the length of a test."""

    def install(entry_points):
        (tmp_path / "their_variants.py").write_text(MODULE)
        installed = tmp_path / "their_variants-1.0.dist-info"
        installed.mkdir()
        installed.joinpath("METADATA").write_text(
            "Metadata-Version: 2.1\nName: their-variants\nVersion: 1.0\n"
        )
        installed.joinpath("entry_points.txt").write_text(f"[tsbench.variants]\n{entry_points}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_ours_come_first_and_the_baseline_before_all():
    names = variants.names()
    assert names[0] == "fp32"
    assert names[: len(variants.BUILT_IN)] == tuple(variants.BUILT_IN)


def test_every_variant_of_ours_is_registered_under_its_own_name():
    for name in variants.BUILT_IN:
        assert variants.get(name).name == name
    defined = set()
    for path in Path(variants.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"tsbench.variants.{path.stem}")
        defined |= {v.name for v in vars(module).values() if isinstance(v, variants.Variant)}
    assert defined == set(variants.BUILT_IN)


def test_a_third_party_variant_is_used_by_name(third_party, tiny_model, tiny_data):
    before = variants.names()
    third_party("upside_down = their_variants:VARIANT")
    assert variants.names() == (*before, "upside_down")
    built = variants.get("upside_down").build(tiny_model, tiny_data, 4)
    with torch.inference_mode():
        assert torch.equal(built(tiny_data.test_x[:4]), -tiny_model(tiny_data.test_x[:4]))


def test_another_package_cannot_replace_one_of_ours(third_party):
    third_party("fp32 = their_variants:FP32")
    assert variants.get("fp32").summary != "in the baseline's name"
    assert variants.names().count("fp32") == 1


@pytest.mark.parametrize(
    ("entry_point", "problem"),
    [
        ("broken = no_such_module:VARIANT", "No module named 'no_such_module'"),
        ("broken = their_variants:NOTHING", "NOTHING"),
        ("broken = their_variants:NOT_ONE", "is of type int, not Variant"),
    ],
)
def test_a_broken_variant_names_its_fault_and_the_others_still_work(
    third_party, entry_point, problem
):
    third_party(entry_point)
    with pytest.raises(VariantUnavailable, match="fix or uninstall") as caught:
        variants.get("broken")
    assert problem in str(caught.value)
    assert variants.get("int8_dynamic").name == "int8_dynamic"


def test_an_unknown_name_lists_those_of_other_packages_too(third_party):
    third_party("upside_down = their_variants:VARIANT")
    with pytest.raises(UnknownName, match="upside_down"):
        variants.get("int4")
