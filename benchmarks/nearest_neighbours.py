"""What do exact nearest neighbours by blocks cost in time and memory, beside faiss?

    python benchmarks/nearest_neighbours.py --others faiss

Searches the neighbours of made vectors among equally many others, on one thread of Linux, each way in a process of its
own: `hf_seqreptile.retrieval.nearest_neighbours`, and faiss's exact index, `IndexFlatIP` of `pip install faiss-cpu`.
Time is the processor's. Memory is the peak above what the process had with the vectors in it. The products must agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hf_seqreptile.retrieval.nearest_neighbours import nearest_neighbours, normalized

RESULT = Path(__file__).parent / "results" / "nearest_neighbours.json"


def vectors(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sides, of which each vector has one near it on the other side."""
    random = np.random.default_rng(0)
    one = random.standard_normal((count, size), dtype=np.float32)
    other = one + random.standard_normal((count, size), dtype=np.float32)
    return normalized(one), normalized(other)


def peak() -> float:
    """The most memory that this process has had since [`forget_peak`], in MiB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def forget_peak() -> None:
    """Let the peak begin at what the process has now."""
    Path("/proc/self/clear_refs").write_text("5")


def search_ours(queries: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
    """The products, the largest first."""
    return nearest_neighbours(queries, candidates, k)[0]


def search_faiss(queries: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
    """The same by faiss."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates)
    return index.search(queries, k)[0]


SEARCHES = {"ours": search_ours, "faiss": search_faiss}


def measure(way: str, count: int, size: int, k: int, sample: Path) -> dict[str, float]:
    """Seconds and MiB of one way, in this process; the first products go into `sample`."""
    import torch

    torch.set_num_threads(1)
    queries, candidates = vectors(count, size)
    # What is loaded on first use is not the search's.
    SEARCHES[way](queries[:8], candidates[:64], k)
    forget_peak()
    before, began = peak(), time.process_time()
    products = SEARCHES[way](queries, candidates, k)
    seconds = time.process_time() - began
    np.save(sample, products[:1000])
    return {"seconds": seconds, "mib": peak() - before}


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000, help="of each side")
    parser.add_argument("--size", type=int, default=384, help="numbers of a vector")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[1, 4], help="of each vector")
    parser.add_argument("--others", nargs="*", default=[], choices=["faiss"], help="what to compare with")
    parser.add_argument("--way", choices=SEARCHES, help=argparse.SUPPRESS)
    parser.add_argument("--sample", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way, args.vectors, args.size, args.neighbours[0], args.sample)))
        return
    result: dict[str, Any] = {"vectors": args.vectors, "size": args.size, "neighbours": {}}
    with tempfile.TemporaryDirectory() as folder:
        for k in args.neighbours:
            found: dict[str, dict[str, float]] = {}
            for way in ("ours", *args.others):
                command = [sys.executable, __file__, "--way", way, "--sample", f"{folder}/{way}.npy"]
                command += ["--vectors", str(args.vectors), "--size", str(args.size), "--neighbours", str(k)]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found[way] = json.loads(process.stdout)
                ours, same = np.load(f"{folder}/ours.npy"), np.load(f"{folder}/{way}.npy")
                assert np.allclose(ours, same, atol=1e-5), f"{way} finds others"
                print(f"k = {k}, {way}: {found[way]['seconds']:.0f} s, {found[way]['mib']:.0f} MiB", flush=True)
            result["neighbours"][str(k)] = found
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
