"""Makes the bench's modules importable: they are scripts, which find each other by their folders."""

import sys
from pathlib import Path

_SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path[:0] = [str(_SCRIPTS / "bench"), str(_SCRIPTS)]
