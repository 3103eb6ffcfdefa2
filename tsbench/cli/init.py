"""The command `tsbench init`: a suite to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsbench.cli.arguments import Commands
from tsbench.errors import TsbenchError

TEMPLATE = '''"""Which technique makes my model cheaper, at what price?

    pytest {name}            # the floors
    pytest {name} --energy   # joules, time and floors
"""

import pytest
import torch

from tsbench.training.evaluate import accuracy, batched_logits

# Replace these stand-ins by your model, in eval mode, and your data.
torch.manual_seed(0)
test_x = torch.randn(64, 1, 96)  # (cases, channels, timepoints)
test_y = (test_x.mean(dim=(1, 2)) > 0).long()  # a class for each case
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(96, 2)).eval()

BATCH_CASES = 32


@pytest.mark.compress(
    model,  # or the path of an .onnx file
    test_x[:BATCH_CASES],  # one batch
    calibration=test_x.split(BATCH_CASES),
    techniques={techniques},
    # speedup=1.0, greenup=1.0,  # lower bounds; without them a slower technique is only shown
)
def test_compressed(compressed):
    def accuracy_of(call):
        return accuracy(batched_logits(call, test_x, BATCH_CASES), test_y)

    compressed.gate("accuracy", accuracy_of, floor={floor})
'''
TECHNIQUES = ("bf16", "int8_dynamic", "onnx_fp32", "onnx_int8_dynamic", "onnx_int8_static")
STAND_IN_FLOOR = 0.3  # below chance: the stand-in is not trained


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "init", help="write a pytest file that compresses and gates a model of yours"
    )
    command.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path("test_compressed.py"),
        metavar="FILE",
        help="default test_compressed.py",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    path: Path = options.file
    if path.suffix != ".py":
        raise TsbenchError(f"{path}: must end in .py")
    techniques = ", ".join(f'"{name}"' for name in TECHNIQUES)
    text = TEMPLATE.format(name=path.name, techniques=f"[{techniques}]", floor=STAND_IN_FLOOR)
    try:
        with path.open("x", encoding="utf8") as file:
            file.write(text)
    except FileExistsError:
        raise TsbenchError(f"{path} exists already: choose another name") from None
    except OSError as error:
        raise TsbenchError(f"cannot write {path}: {error}") from None
    print(f"wrote {path}; replace its model and data, then run: pytest {path} --energy")
    return 0
