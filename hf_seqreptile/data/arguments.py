"""Which examples to load: the arguments that every script shares."""

from dataclasses import dataclass, field


@dataclass
class DataArguments:
    """Where the examples of each task come from, and how many of them to use."""

    dataset_name: str | None = field(
        default=None,
        metadata={"help": "A dataset of the Hugging Face Hub, a local dataset folder, or `sample` (bundled)."},
    )
    dataset_config_name: str | None = field(
        default=None,
        metadata={"help": "The dataset's configuration. Default: one a language, named as the language."},
    )
    train_file: list[str] | None = field(
        default=None,
        metadata={
            "nargs": "+",
            "help": "Training files, `name=path` each (CoNLL, json, jsonl, csv, parquet), or a folder of them.",
        },
    )
    validation_file: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Validation files, given as `train_file` is."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Test files, given as `train_file` is."}
    )
    languages: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "Tasks to train on. Default: every task that the data names."}
    )
    eval_languages: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Tasks to evaluate on, zero-shot where not trained on. Default: `languages`."},
    )
    task_column: str | None = field(
        default=None, metadata={"help": "The column that names each example's task, where one dataset holds them all."}
    )
    max_train_samples: list[str] | None = field(
        default=None,
        metadata={"nargs": "+", "help": "Use only the first examples of each task: `6000`, or `de=6000 nl=200`."},
    )
    max_eval_samples: list[str] | None = field(
        default=None, metadata={"nargs": "+", "help": "The same for validation."}
    )
    max_predict_samples: list[str] | None = field(default=None, metadata={"nargs": "+", "help": "The same for test."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Preprocess again, whatever is cached."})
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that preprocess. Default: one."}
    )
