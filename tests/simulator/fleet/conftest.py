"""Makes the scripts importable that show what a simulation came to."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[3] / "scripts")]
