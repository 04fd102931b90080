#!/usr/bin/env python
"""Fine-tune a model on tasks that give one text, or a pair, one class of several or a number.

A drop-in replacement for Hugging Face's script of this name, with `--method seq_reptile` and the paper's baselines.
The flow is in hf_seqreptile/command_line/fine_tuning.py.
"""

from collections.abc import Sequence

from hf_seqreptile.command_line.fine_tuning import fine_tune
from hf_seqreptile.problems.text_classification import TextClassification

EXAMPLE = """\
An example that needs no download:
  run_glue.py --method seq_reptile --model_name_or_path offline-multilingual --trim_vocabulary \\
    --dataset_name sample --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 3e-4 \\
    --do_train --do_eval --output_dir out
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`, by default the process's own."""
    fine_tune(TextClassification, EXAMPLE, argv)


if __name__ == "__main__":
    main()
