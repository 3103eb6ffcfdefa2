"""Checkpoints: saving, loading, and damaged or hostile files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tsbench import checkpoints
from tsbench.data import cache
from tsbench.errors import CheckpointError


@pytest.fixture
def saved(tmp_path, tiny_model):
    path = tmp_path / "tiny.safetensors"
    checkpoints.save(path, tiny_model, {"seed": 0})
    return path


def test_round_trip(saved, tiny_model):
    found = checkpoints.load(saved)
    assert found.about == {"seed": 0}
    assert found.model.config == tiny_model.config
    assert not found.model.training
    x = torch.randn(3, 2, 64)
    with torch.inference_mode():
        assert torch.equal(found.model(x), tiny_model(x))


def test_a_file_in_memory_is_the_same_model(saved):
    found = checkpoints.loads(saved.read_bytes(), saved)
    expected = checkpoints.load(saved)
    assert (found.about, found.path) == (expected.about, saved)
    weights = found.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in expected.model.state_dict().items())


@pytest.mark.parametrize("n_bytes", [0, 4, 100, 5000])
def test_a_file_in_memory_that_is_cut_short_is_named(saved, n_bytes):
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: corrupt"):
        checkpoints.loads(saved.read_bytes()[:n_bytes], saved)


@pytest.mark.parametrize("n_bytes", [0, 4, 100, 5000])
def test_a_file_cut_short_is_named(saved, n_bytes):
    saved.write_bytes(saved.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: corrupt"):
        checkpoints.load(saved)


def test_a_pickle_is_not_loaded(saved):
    torch.save({"a": torch.zeros(2)}, saved)
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: corrupt, or not safetensors"):
        checkpoints.load(saved)


def test_weights_of_another_shape_are_named(saved, tiny_model):
    config = {**vars(tiny_model.config), "d_model": 32}
    checkpoints.save_weights(saved, tiny_model, {"config": config, "about": {}})
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: weights do not fit"):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ({}, "metadata"),
        ({"config": {"layers": 3}, "about": {}}, "layers"),
        ({"config": 3, "about": {}}, "config is of type int"),
        ({"config": {}, "about": [1]}, "about is of type list"),
    ],
)
def test_invalid_metadata_is_an_error(saved, tiny_model, about, problem):
    checkpoints.save_weights(saved, tiny_model, about)
    with pytest.raises(CheckpointError, match=rf"tiny\.safetensors: .*{problem}"):
        checkpoints.load(saved)


def test_an_older_file_without_a_later_field_is_read(saved, tiny_model):
    config = vars(tiny_model.config).copy()
    for field in checkpoints.LATER_FIELDS:
        del config[field]
    checkpoints.save_weights(saved, tiny_model, {"config": config, "about": {}})
    assert checkpoints.load(saved).model.config == tiny_model.config


def test_another_programs_safetensors_file_is_an_error(saved):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, saved)
    with pytest.raises(CheckpointError, match="format None"):
        checkpoints.load(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such file"):
        checkpoints.load(tmp_path / "gone.safetensors")


def test_shipped_models_load_and_have_cards():
    paths = checkpoints.list_shipped()
    assert {path.stem for path in paths} >= {"PLAID-t1", "RefrigerationDevices-t1"}
    for path in paths:
        checkpoints.load(path)
        card = path.with_suffix(".md").read_text()
        assert f"# {path.stem}" in card
        assert "| command | `tsbench train" in card
    assert checkpoints.shipped("PLAID", "t9") is None


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file"
    cache.write_atomically(path, b"old")

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        cache.write_atomically(path, b"new")
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("file", b"old")]


def test_files_of_killed_processes_are_deleted_and_no_others(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for path, pid in (("a.json", ended.pid), ("b.json", os.getpid())):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        monkeypatch.setattr(os, "replace", killed)
        monkeypatch.setattr(os, "unlink", lambda path: None)  # a kill leaves no time for it
        with pytest.raises(KeyboardInterrupt):
            cache.write_atomically(tmp_path / path, b"half")
        monkeypatch.undo()
    (tmp_path / ".x.part").touch()
    (tmp_path / "c.json").touch()
    assert len(list(tmp_path.iterdir())) == 4
    cache.delete_parts(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[1:] == [".x.part", "c.json"] and left[0].startswith(".b.json.")


def killed(*arguments):
    raise KeyboardInterrupt


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TSBENCH_CACHE", str(tmp_path / "a"))
    assert cache.folder() == tmp_path / "a"
    monkeypatch.delenv("TSBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.folder() == tmp_path / "b" / "tsbench"


@pytest.mark.parametrize(
    "changes",
    [
        {"n_layers": 2_000_000},
        {"d_model": 2**40, "n_heads": 1},
        {"ff_dim": 2**62},
        {"patch_timepoints": 2**32, "timepoints": 2**32},
        {"in_channels": 10**30},
        {"n_classes": 10**9},
        {"patch_timepoints": 0},
        {"n_heads": 0},
        {"n_layers": -1},
        {"n_layers": True},
        {"n_layers": 2.0},
        {"d_model": "16"},
        {"dropout": float("nan")},
        {"dropout": -1.0},
        {"residual_stem": 1},
        {"stem_channels": None},
    ],
    ids=str,
)
def test_a_config_that_the_weights_contradict_is_not_built(saved, tiny_model, changes):
    config = {**vars(tiny_model.config), **changes}
    checkpoints.save_weights(saved, tiny_model, {"config": config, "about": {}})
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: "):
        checkpoints.load(saved)


def test_deeply_nested_metadata_is_an_error(saved, tiny_model):
    from safetensors.torch import save

    deep = "[" * 100_000 + "]" * 100_000
    for metadata in ({"config": deep, "about": "{}"}, {"config": "{}", "about": deep}):
        content = save(tiny_model.state_dict(), {"format": checkpoints.FORMAT, **metadata})
        saved.write_bytes(content)
        with pytest.raises(CheckpointError, match="metadata is invalid"):
            checkpoints.load(saved)
