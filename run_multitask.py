#!/usr/bin/env python
"""Fine-tune one encoder on tasks of different kinds, each with its own head, as a tasks' file names them.

The flow is in hf_seqreptile/command_line/fine_tuning.py, as of every script.
"""

import sys
from collections.abc import Sequence

from hf_seqreptile.command_line.fine_tuning import fine_tune
from hf_seqreptile.problems.multitask import Multitask

EXAMPLE = """\
The first argument is the tasks' file, the second may be one of arguments. An example:
  run_multitask.py tasks.yaml --method seq_reptile --model_name_or_path offline-multilingual --trim_vocabulary \\
    --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 3e-4 --do_train --do_eval --output_dir out
with this tasks.yaml (docs/run_multitask.md):
  ner-de: {problem: ner, dataset_name: sample, languages: de}
  ner-sw: {problem: ner, dataset_name: sample, languages: sw}
  nli-en: {problem: nli, dataset_name: sample, languages: en}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`, by default the process's own."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and not given[0].startswith("-"):
        given = [*given[1:], "--tasks_file", given[0]]
    fine_tune(Multitask, EXAMPLE, given)


if __name__ == "__main__":
    main()
