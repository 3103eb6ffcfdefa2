"""The examples in tsbench's docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import tsbench


def test_examples_in_docstrings_are_right():
    names = [module.name for module in pkgutil.walk_packages(tsbench.__path__, "tsbench.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.attempted for result in results) >= 10
    assert not any(result.failed for result in results)
