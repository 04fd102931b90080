"""Kill runs at random moments, continue them, and count those that end elsewhere or not at all.

python -m benchmarks.kills --kills 200
"""

import argparse
import itertools
import json
import logging
import os
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.kills import METHODS, Kills, kill_runs, places

AT_ONCE = 5
"""Kills before it is the turn of the next script and method; the uninterrupted run comes on top."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many; default 200")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("--output", type=Path, help="write the counts into this JSON file")
    args = parser.parse_args()
    # What was left incomplete is counted, not reported.
    logging.getLogger("hf_seqreptile").setLevel(logging.ERROR)
    draw = random.Random(args.seed)
    kills = Kills()
    with tempfile.TemporaryDirectory() as folder:
        # Three scripts and eight methods: every pair has its turn.
        pairs = zip(itertools.cycle(places(Path(folder))), itertools.cycle(METHODS))
        while kills.tried < args.kills:
            place, method = next(pairs)
            kill_runs(place, method, min(AT_ONCE, args.kills - kills.tried), draw, kills)
            print(
                f"{kills.tried:>5} kills, {len(kills.differences)} differences, {len(kills.unusable)} unusable "
                f"({place.script}, {method})",
                flush=True,
            )
    result = {
        "kills": kills.tried, "where": dict(kills.where), "differences": kills.differences, "unusable": kills.unusable,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(bool(kills.differences or kills.unusable))


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    main()
