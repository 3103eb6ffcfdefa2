"""How variants are found: ours in a fixed order, other people's after, by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tsbench import variants
from tsbench.errors import UnknownName, VariantUnavailable

# As somebody else would ship it: a module, and an entry point, of which tsbench knows nothing.
MODULE = """
from tsbench.variants import Variant, needs_nothing

def make(model, data, batch_cases):
    def classify(x):
        return -model(x)
    return classify

VARIANT = Variant("upside_down", "worst class first", ("torch",), needs_nothing, make)
FP32 = Variant("fp32", "in the baseline's name", ("torch",), needs_nothing, make)
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


def test_ours_are_in_order_with_the_baseline_first():
    names = variants.names()
    assert names[0] == "fp32"
    ours = [name for name in names if name in variants.ORDER]
    assert ours == sorted(ours, key=variants.ORDER.index)


def test_every_file_is_registered_and_says_its_own_name():
    folder = Path(variants.__file__).parent
    files = {path.stem for path in folder.glob("[!_]*.py") if "\nVARIANT = " in path.read_text()}
    assert files <= set(variants.names())
    assert files <= set(variants.ORDER)
    for name in files:
        assert variants.get(name).name == name


def test_a_third_party_variant_is_used_by_name(third_party, tiny_model, tiny_data):
    before = variants.names()
    third_party("upside_down = their_variants:VARIANT")
    assert variants.names() == (*before, "upside_down")
    built = variants.get("upside_down").build(tiny_model, tiny_data, 4)
    with torch.inference_mode():
        assert torch.equal(built(tiny_data.test_x[:4]), -tiny_model(tiny_data.test_x[:4]))


def test_nobody_takes_the_name_of_one_of_ours(third_party):
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
def test_a_broken_one_says_what_is_wrong_and_spares_the_others(third_party, entry_point, problem):
    third_party(entry_point)
    with pytest.raises(VariantUnavailable, match="mend or uninstall") as caught:
        variants.get("broken")
    assert problem in str(caught.value)
    assert variants.get("int8_dynamic").name == "int8_dynamic"


def test_an_unknown_name_lists_other_peoples_too(third_party):
    third_party("upside_down = their_variants:VARIANT")
    with pytest.raises(UnknownName, match="upside_down"):
        variants.get("int4")
