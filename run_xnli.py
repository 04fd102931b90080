#!/usr/bin/env python
"""Fine-tune a model on natural language inference in several languages, or in English for all of them.

A drop-in replacement for Hugging Face's script of this name, with `--method seq_reptile` and the paper's baselines.
The flow is in hf_seqreptile/command_line/fine_tuning.py.
"""

from collections.abc import Sequence

from hf_seqreptile.command_line.fine_tuning import fine_tune
from hf_seqreptile.problems.sequence_classification import SequenceClassification

EXAMPLE = """\
An example that needs no download:
  run_xnli.py --method seq_reptile --model_name_or_path offline-multilingual --trim_vocabulary \\
    --dataset_name sample --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 3e-4 \\
    --do_train --do_eval --output_dir out
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`, by default the process's own."""
    fine_tune(SequenceClassification, EXAMPLE, argv)


if __name__ == "__main__":
    main()
