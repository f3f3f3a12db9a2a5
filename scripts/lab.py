"""The fault lab: every scenario of the contract against a real router, over real sockets."""

import argparse
import os
import sys


def main() -> int:
    """Run it; the exit code says whether all was as expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a sample, under a minute")
    size.add_argument(
        "--full", action="store_true", help="every cut, production deadlines, no limit"
    )
    parser.add_argument(
        "--only", metavar="ROW[,ROW]", default="", help="these rows of the contract"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, default=1, help="WORKERS of every router; default 1"
    )
    parser.add_argument(
        "--write-scorecard", action="store_true", help="write research/FAULT_SCORECARD.md"
    )
    options = parser.parse_args()
    level = 0 if options.quick else 2 if options.full else 1
    only = frozenset(part.strip() for part in options.only.split(",") if part.strip())
    if options.full:
        os.environ["AUTOPILOT_LAB"] = "full"
    # Imported now: what is expected depends on the deadlines that this run has.
    from lab_run import run_lab  # noqa: PLC0415

    return run_lab(level, only, workers=options.workers, write_scorecard=options.write_scorecard)


if __name__ == "__main__":
    sys.exit(main())
