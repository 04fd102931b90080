"""Fuzzes the package's readers with atheris, one after the other, and counts the inputs.

python -m tests.fuzz.run --inputs 100000 --output fuzz.json
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.readers import READERS

INPUTS = 100_000
"""For each reader, unless another number is given."""
THROUGH_DATASETS = 0.01
"""Of these, for readers whose inputs `datasets` prepares."""
LENGTH = 4096
"""Bytes of an input, at most."""
MEMORY = 1024
"""MiB that a reader's process may take, Python and the package's imports included."""
SECONDS = 20
"""That one input may take."""
MEMORY_DISK = Path("/dev/shm")
"""Where there is one, inputs are written there: a disk would take most of the time."""


def fuzz(name: str, inputs: int) -> int:
    """Give the reader `name` so many inputs, or its share of them, in a process of its own.

    Returns:
        How many it was given, as libFuzzer counts them.

    Raises:
        RuntimeError: an input that was neither read nor refused, or took too long or too much memory.
    """
    runs = int(inputs * THROUGH_DATASETS) if READERS[name].through_datasets else inputs
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        process = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.atheris_process", name, f"-runs={runs}", f"-max_len={LENGTH}",
             f"-rss_limit_mb={MEMORY}", f"-timeout={SECONDS}", "-seed=1", "-print_final_stats=1",
             f"-artifact_prefix={folder}/", str(corpus)],
            env=os.environ | {"TMPDIR": folder, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"},
            cwd=Path(__file__).parents[2], capture_output=True, text=True, errors="replace",
        )  # fmt: skip
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", process.stderr)
    if process.returncode or not found:
        raise RuntimeError(f"{name}, exit code {process.returncode}:\n{process.stdout}{process.stderr[-8000:]}")
    return int(found[1])


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--inputs", type=int, default=INPUTS, help="For each reader, and 1 %% of it through `datasets`."
    )
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--output", type=Path, help="A JSON file for the counts.")
    args = parser.parse_args(argv)
    counts = {}
    for name in args.readers:
        counts[name] = fuzz(name, args.inputs)
        print(f"{name:20}{counts[name]:>12,} inputs", flush=True)
        if args.output:
            args.output.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
