"""``python -m pytest_energy`` is ``pytest-energy``."""

import sys

from pytest_energy.cli import main

sys.exit(main())
