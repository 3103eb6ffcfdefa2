"""`tsbench compress` and `tsbench init`, as a user sees them."""

from __future__ import annotations

import numpy as np
import pytest

from tsbench import cli

QUICK = ("--max-time", "0.2", "--meter", "estimate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """mlp.onnx of any number of cases, and x.npy of 20 cases."""
    onnx = pytest.importorskip("onnx", reason='not installed: pip install "tsbench[onnx]"')
    pytest.importorskip("onnxruntime", reason='not installed: pip install "tsbench[onnx]"')
    from onnx import TensorProto, helper, numpy_helper

    path = tmp_path_factory.mktemp("onnx")
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype("float32"), name)
        for name, shape in (("a", (16, 64)), ("b", (64, 3)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"], "second"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [value("x", TensorProto.FLOAT, ["n", 16])],
        [value("y", TensorProto.FLOAT, ["n", 3])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, path / "mlp.onnx")
    np.save(path / "x.npy", rng.normal(size=(20, 16)))
    np.save(path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(path / "wide.npy", np.zeros((20, 17), "float32"))
    (path / "broken.onnx").write_text("no model")
    return path


def test_the_table_of_an_onnx_file_and_its_winner(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["compress", str(folder / "mlp.onnx"), "--input", str(folder / "x.npy"), *QUICK]
    names = ["--technique", "onnx_int8_dynamic", "onnx_int8_static"]
    assert cli.main([*arguments, *names, "--agreement", "0.5", "-o", str(tmp_path / "small")]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for word in ("estimated", "100 % of FLOPs in int8", "agrees", "KiB", "batch of 20"):
        assert word in printed
    saved = list(tmp_path.iterdir())
    assert saved == [tmp_path / "small.onnx"] or "nothing is saved" in printed


@pytest.mark.parametrize(
    ("file", "more", "problem"),
    [
        ("nowhere.onnx", ["--input", "x.npy"], "nowhere.onnx: the file does not exist"),
        ("broken.onnx", ["--input", "x.npy"], "broken.onnx: no readable .onnx file"),
        ("mlp.onnx", ["--input", "nowhere.npy"], "nowhere.npy: no readable .npy file"),
        ("mlp.onnx", ["--input", "objects.npy"], "objects.npy: no readable .npy file"),
        ("mlp.onnx", ["--input", "wide.npy"], "the model fails on the example"),
        ("mlp.onnx", ["--input", "x.npy", "--batch", "21"], "a batch of 21 requires as many"),
        ("mlp.onnx", ["--input", "x.npy", "--input", "x.npy"], "has 1 inputs (x), got 2"),
        ("mlp.onnx", ["--input", "x.npy", "--technique", "int4"], "unknown variant 'int4'"),
    ],
)
def test_errors_are_one_line(folder, file, more, problem, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert cli.main(["compress", file, *more, *QUICK]) == 2
    error = capsys.readouterr().err
    assert problem in error and "Traceback" not in error


@pytest.mark.slow
def test_init_writes_a_suite_that_passes(pytester, capsys):
    path = pytester.path / "test_compressed.py"
    assert cli.main(["init", str(path)]) == 0
    assert "then run: pytest" in capsys.readouterr().out
    result = pytester.runpytest_subprocess(
        "-p", "tsbench.plugin", "-k", "int8_dynamic and not onnx"
    )
    result.assert_outcomes(passed=1, deselected=4)
    assert cli.main(["init", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["init", "suite.txt"]) == 2
