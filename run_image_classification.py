#!/usr/bin/env python
"""Fine-tune a model on pictures with a class each, of one task or of several with a classifier each.

A drop-in replacement for Hugging Face's script of this name, with `--method seq_reptile` and the paper's baselines.
The flow is in hf_seqreptile/command_line/fine_tuning.py.
"""

from collections.abc import Sequence

from hf_seqreptile.command_line.fine_tuning import fine_tune
from hf_seqreptile.problems.image_classification import ImageClassification

EXAMPLE = """\
An example, whose pictures need no download:
  run_image_classification.py --method seq_reptile --model_name_or_path microsoft/resnet-18 --dataset_name sample \\
    --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 1e-3 --max_steps 200 --do_train --do_eval \\
    --output_dir out
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`, by default the process's own."""
    fine_tune(ImageClassification, EXAMPLE, argv)


if __name__ == "__main__":
    main()
