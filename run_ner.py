#!/usr/bin/env python
"""Fine-tune a model on named entity recognition in several languages.

A drop-in replacement for Hugging Face's script of this name, with `--method seq_reptile` and the paper's baselines.
"""

from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification, set_seed

from hf_seqreptile import MultiTaskTrainingArguments
from hf_seqreptile.arguments import parse_arguments
from hf_seqreptile.data import load_tasks
from hf_seqreptile.heads.token_classification import (
    TokenClassification,
    TokenClassificationArguments,
    predicted_labels,
)
from hf_seqreptile.model_loading import ModelArguments, label_names, load_model
from hf_seqreptile.script import (
    bad_input_exits,
    evaluate,
    finish,
    plan_runs,
    predict,
    report,
    set_up_logging,
    train,
    trainer_class,
    wanted_splits,
)

EXAMPLE = """\
An example that needs no download:
  run_ner.py --method seq_reptile --model_name_or_path offline-multilingual --trim_vocabulary \\
    --dataset_name sample --inner_steps 25 --outer_learning_rate 0.5 --learning_rate 3e-4 \\
    --do_train --do_eval --output_dir out
"""
METRIC = "f1"
"""Shown in tables and plots."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line `argv`, by default the process's own."""
    with bad_input_exits():
        model_args, data_args, args = parse_arguments(
            (ModelArguments, TokenClassificationArguments, MultiTaskTrainingArguments), argv, EXAMPLE
        )
        make_trainer = trainer_class(args)
        set_up_logging(args)
        with args.main_process_first(desc="loading"):
            tasks = load_tasks(data_args, wanted_splits(args), cache_dir=model_args.cache_dir, token=model_args.token)
        head = TokenClassification(tasks, data_args)

        finished = []
        for run in plan_runs(args, tasks):
            set_seed(args.seed)
            model, tokenizer = load_model(
                AutoModelForTokenClassification,
                model_args,
                head.labels,
                texts=lambda: head.words(tasks),
                will_train=args.do_train,
            )
            head.labels = label_names(model.config)
            with args.main_process_first(desc="tokenizing"):
                features = {split: head.encode(data, tokenizer, split) for split, data in run.tasks.items()}
            trainer = make_trainer(
                model=model,
                args=run.args,
                train_dataset=features.get("train"),
                eval_dataset=features.get("validation"),
                data_collator=DataCollatorForTokenClassification(tokenizer),
                processing_class=tokenizer,
                compute_metrics=head.compute_metrics,
                preprocess_logits_for_metrics=predicted_labels,
            )
            if args.do_train:
                train(trainer)
            metrics: dict[str, float] = {}
            if args.do_eval:
                metrics |= evaluate(trainer, features["validation"])
            if args.do_predict:
                metrics |= predict(trainer, features["test"], head.write_predictions)
            finished.append(finish(run, trainer, metrics, model_args, data_args, METRIC, "token-classification"))
        report(finished, args, METRIC)


if __name__ == "__main__":
    main()
