"""One reader under atheris: `python -m tests.fuzz.atheris_process NAME [libFuzzer's arguments] CORPUS`."""

import sys
from pathlib import Path

import atheris
import datasets

with atheris.instrument_imports(include=["hf_seqreptile", "json", "yaml"]):
    from tests.fuzz.readers import READERS

WORD = 64
"""Bytes that a word of libFuzzer's dictionary has at most."""


def main(name: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    datasets.disable_progress_bars()
    reader = READERS[name]
    corpus = Path(arguments[-1])
    for number, seed in enumerate(reader.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_suffix(".dict")
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in reader.words if len(word) <= WORD))
    atheris.Setup([sys.argv[0], *arguments, f"-dict={words}"], reader)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
