"""`python -m hf_seqreptile.synthetic`: the paper's synthetic experiment, as a table, a JSON file and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..console.arguments import parse_arguments
from ..console.bad_input import bad_input_exits
from ..errors import InputError
from .experiment import run_all, table, write_results

EPILOG = """example:
  python -m hf_seqreptile.synthetic --output_dir figures --seeds 2

writes figures/synthetic.json and the figures beside it. docs/synthetic.md explains them."""


@dataclass
class SyntheticArguments:
    """The command line."""

    output_dir: str = field(default="figures", metadata={"help": "The folder for the JSON file and the figures."})
    seeds: int = field(default=8, metadata={"help": "Runs of each method whose result depends on the seed."})

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"--seeds is {self.seeds}; it must be at least 1.")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    with bad_input_exits():
        (args,) = parse_arguments([SyntheticArguments], argv, EPILOG)
        folder = Path(args.output_dir)
        # Before the runs, so that a folder that cannot be made costs no wait.
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output_dir {folder} cannot be made: {error.strerror}. Choose another.") from error
        runs = run_all(args.seeds)
        files = write_results(runs, folder)
    print(table(runs))
    print("\nWritten:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
