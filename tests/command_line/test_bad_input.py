"""Bad input to the scripts: a message that names place and mend, exit code 2, no traceback, nothing trained."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification

from hf_seqreptile.models.loading import ModelArguments, load_model
from tests import forks, scripts
from tests.scripts import SEQ_REPTILE, Workplace, end_as, main, write

SOUND = '{"tokens": ["Bonn", "is"], "ner_tags": ["B-LOC", "O"]}\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def refusal(place: Workplace, capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """The message with which the script refuses arguments, after checking that it trained and wrote nothing.

    Without `train` the arguments come after those of a sound run; with it, they and that file are all the data.
    """

    def refuse(*arguments: str, train: str | None = None) -> str:
        output = tmp_path / "out"
        sound = place.arguments("unused", *SEQ_REPTILE, "--do_train")
        if train is not None:
            sound = ["--model_name_or_path", place.model, "--train_file", f"de={train}", "--cache_dir",
                     str(tmp_path / "cache"), *scripts.TRAINING, *SEQ_REPTILE, "--do_train"]  # fmt: skip
        assert main(*sound, "--output_dir", str(output), *arguments) == 2
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err and "'loss'" not in printed.out
        assert not output.exists() or not any(output.iterdir())
        return printed.err.partition("error: ")[2].strip()

    return refuse


def test_the_process_says_it_on_stderr_and_exits_with_2(place: Workplace) -> None:
    process = forks.completed(end_as, "run_ner", place.arguments("process", "--do_train", "--inner_steps", "0"))
    assert process.returncode == 2
    assert process.stderr.strip().splitlines()[-1] == "error: --inner_steps (K) is 0; it must be at least 1."
    assert "Traceback" not in process.stderr and process.stdout == ""
    assert not place.path("process").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inner_steps", "0"], "--inner_steps (K) is 0; it must be at least 1."),
        (["--outer_learning_rate", "0"], "--outer_learning_rate (η) is 0.0; it must be in (0, 1]."),
        (["--outer_learning_rate", "1.5"], "--outer_learning_rate (η) is 1.5; it must be in (0, 1]."),
        (["--outer_learning_rate", "nan"], "--outer_learning_rate (η) is nan; it must be in (0, 1]."),
        (["--task_sampling_exponent", "-0.1"], "--task_sampling_exponent (q) is -0.1; it must be in [0, 1]"),
        (["--task_sampling_exponent", "1.1"], "--task_sampling_exponent (q) is 1.1; it must be in [0, 1]"),
        (["--tasks_per_step", "0"], "--tasks_per_step (M) is 0; it must be at least 1."),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size is 0; it must be at least 1."),
        (["--inner_steps", "21"], "--inner_steps (K) is 21, but only 20 inner steps are planned"),
        (["--max_steps", "-1", "--inner_steps", "999"], "but only 36 inner steps are planned"),
        (
            ["--method", "mtl"],
            "--inner_steps is a setting of --method seq_reptile and reptile, and --method mtl has no use for it",
        ),
        (["--method", "reptilian"], "--method reptilian is unknown. Did you mean reptile? Choose one of"),
        (["--do_train", "false"], "Nothing to do: add --do_train, --do_eval or --do_predict."),
        (["--languages", "de", "xx"], "--languages: unknown language 'xx'. Known: de, en, nl, sw."),
        (["--languages", "nl"], "Task 'nl' has no train data. Add `nl=path` to --train_file"),
        (["--max_train_samples", "xx=5"], "--max_train_samples: unknown task 'xx'."),
        (["--preprocessing_num_workers", "0"], "--preprocessing_num_workers is 0; it must be at least 1."),
        (["--max_train_samples", "0"], "--max_train_samples: `0` is not a number of examples."),
        (["--trim_vocabulary"], "--trim_vocabulary works with --model_name_or_path offline-multilingual only."),
        (["--model_name_or_path", "/none/here"], "--model_name_or_path /none/here cannot be loaded: no such folder."),
        (["--model_name_or_path", "./none"], "--model_name_or_path ./none cannot be loaded: no such folder."),
        (["--tokenizer_name", "/none/here"], "--tokenizer_name /none/here cannot be loaded: no such folder."),
        (["--config_name", "/none/here"], "--config_name /none/here cannot be loaded: no such folder."),
        (
            ["--text_column_name", "words"],
            "--text_column_name words is not a column of task 'de', which has ['tokens'",
        ),
        (["--max_seq_length", "2"], "--max_seq_length 2 leaves no room for words: this model adds 2 tokens"),
        (["--max_seq_length", "-1"], "--max_seq_length -1 leaves no room for words"),
        (["--resume_from_checkpoint", "/none"], "--resume_from_checkpoint /none: no such folder."),
        (["--load_best_model_at_end"], "--load_best_model_at_end requires"),
        (["--learning_rat_e", "1"], "Unknown argument --learning_rat_e 1. Did you mean --learning_rate?"),
        (["--max_steps", "many"], "invalid int value: 'many'"),
        (["--learning_rate", "0"], "--learning_rate (α) is 0.0; it must be above 0."),
        (["--report_to", "wandbb"], "--report_to wandbb: wandbb is not supported, only"),
        (["--optim_args", "foo"], "--optim_args foo: write name=value, with commas between several."),
        (["--learning_rate", "1e30"], "The loss of task 'en' is nan at step 2. Lower --learning_rate"),
        (["--dataset_name", "sample"], "--dataset_name and --train_file exclude each other."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments(refusal: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refusal(*arguments).replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "Bonn\tB-LOC\nis\n", "a.conll, line 2: 1 column"),
        ("a.conll", "Bonn\tPLACE\nis\tB-LOC\n", "a.conll, line 1: `PLACE` is not a tag"),
        ("a.jsonl", SOUND + SOUND.replace("B-LOC", "b-loc"),
         "task 'de', train split, row 2 (Bonn is): `b-loc` is not a tag"),
        ("a.jsonl", SOUND + SOUND.replace("B-LOC", "B-Loc"),
         "task 'de', train split, row 2 (Bonn is): the label 'B-Loc' differs from 'B-LOC' in case or spaces alone."),
        ("a.csv", "tokens,ner_tags\nBonn is,B_LOC O\n",
         "task 'de', train split, row 1 (Bonn is): `B_LOC` is not a tag"),
        ("a.jsonl", '{"tokens": ["Bonn"], "tags": ["O"], "pos": ["X"]}\n',
         "Task 'de': which column holds the tags cannot be told; it may be any of tags, pos. Name it"),
        ("a.conll", "", "a.conll is an empty file."),
        ("a.conll", "\n\n", "a.conll holds no sentences."),
        ("a.jsonl", SOUND + '{"tokens": ["Bonn",\n', "a.jsonl, line 2: not JSON ("),
        ("a.json", '[{"tokens": ["Bonn"]', "a.json, line 1: not JSON ("),
        ("a.csv", "tokens,ner_tags\nBonn is,B-LOC O,x\n", "a.csv, row 1 (line 2): 3 values for the 2 columns"),
        ("a.xlsx", "x", "files that end in '.xlsx' are not supported."),
        ("a.jsonl", SOUND + '{"tokens": ["a", "b", "c"], "ner_tags": ["O"]}\n',
         "task 'de', train split, row 2 (a b c): 3 words but 1 tags; give each word one tag."),
        ("a.jsonl", SOUND + '{"tokens": null, "ner_tags": null}\n', "task 'de', train split, row 2: an empty value"),
        ("a.jsonl", SOUND + '{"tokens": ["a"], "ner_tags": [null]}\n', "train split, row 2: an empty value (null)"),
        ("a.jsonl", '{"tokens": "Bonn is", "ner_tags": ["B-LOC", "O"]}\n',
         "Column 'tokens' of task 'de' holds Value('string'); it must hold a list of words"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": [1]}\n',
         "Column 'ner_tags' of task 'de' holds List(Value('int64')); it must hold a list of tags"),
        ("a.jsonl", '{"tokens": ["a"]}\n', "The data of task 'de' has the columns ['tokens']; it needs"),
        ("a.jsonl", '{"tokens": [], "ner_tags": []}\n{"tokens": ["\\u200b"], "ner_tags": ["O"]}\n',
         "Task 'de' has no training examples; remove the task or add examples."),
    ],
)  # fmt: skip
def test_files(refusal: Callable[..., str], tmp_path: Path, name: str, content: str, message: str) -> None:
    assert message in refusal(train=write(tmp_path / "data" / name, content))


def test_missing_data_and_labels_that_do_not_fit(refusal: Callable[..., str], tmp_path: Path) -> None:
    def file(name: str, tag: str) -> str:
        return write(tmp_path / "data" / name, json.dumps({"tokens": ["a", "b"], "ner_tags": ["B-LOC", tag]}) + "\n")

    sound, other = file("sound.jsonl", "B-PER"), file("other.jsonl", "B-TIME")
    assert "the file `/none` does not exist" in refusal(train="/none")
    assert "Task 'de' has no validation data. Add `de=path` to --validation_file" in refusal("--do_eval", train=sound)
    assert "The label sets differ: task 'en' has ['TIME'], which task 'de' lacks" in refusal(
        "--train_file", f"de={sound}", f"en={other}", train=sound
    )
    for split in ("validation", "test"):
        message = refusal(f"--{split}_file", f"de={other}", "--do_eval" if split == "validation" else "--do_predict",
                          train=sound)  # fmt: skip
        assert message == (
            f"task 'de', {split} split, row 1 (a b): unknown label 'B-TIME'; the model knows O, B-LOC, I-LOC, B-PER, "
            f"I-PER. Mend the row, or train on examples with that label."
        )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.yaml", "inner_stepps: 5\n", "Unknown argument --inner_stepps 5. Did you mean --inner_steps?"),
        ("config.yaml", "languages: [de\n", "config.yaml is not valid yaml: "),
        ("config.json", "{", "config.json is not valid json: "),
        ("config.json", None, "config.json cannot be read: "),
        ("config.yaml", "do_train: true\n", "No data. Give --dataset_name or --train_file"),
    ],
)
def test_files_of_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        write(tmp_path / name, text)
    assert main(str(tmp_path / name), "--output_dir", str(tmp_path / "out")) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_row_is_named_by_worker_processes_too(refusal: Callable[..., str], tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", 3 * SOUND + '{"tokens": ["a"], "ner_tags": ["O", "O"]}\n')
    assert "train split, row 4 (a): 1 words but 2 tags" in refusal("--preprocessing_num_workers", "2", train=file)


@pytest.fixture(scope="module")
def finished(place: Workplace) -> list[str]:
    """The arguments of a run that ended, in the folder `finished`, with checkpoints."""
    arguments = place.arguments(
        "finished", *SEQ_REPTILE, "--do_train", "--save_steps", "10", "--save_total_limit", "2"
    )
    assert main(*arguments) == 0
    return arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--inner_steps", "5"], "inner_steps: 6 in the checkpoint, 5 now"),
        (["--languages", "de", "en"], "'sw': 7} in the checkpoint, {'de': 24, 'en': 16} now"),
        (["--max_train_samples", "de=20"], "'de': 24, 'en': 16, 'sw': 7} in the checkpoint, {'de': 20"),
        (["--method", "reptile"], "method: 'seq_reptile' in the checkpoint, 'reptile' now"),
    ],
    ids=str,
)  # fmt: skip
def test_another_runs_checkpoint(
    place: Workplace, finished: list[str], capsys: pytest.CaptureFixture, changes: list[str], message: str
) -> None:
    before = place.files("finished")
    assert main(*finished, *changes) == 2
    error = capsys.readouterr().err
    assert "checkpoint-20 belongs to another run:" in error and message in error
    assert "start a new one in another --output_dir" in error
    assert place.files("finished") == before


def test_a_folder_with_a_finished_model(place: Workplace, finished: list[str], capsys: pytest.CaptureFixture) -> None:
    folder = place.path("done")
    shutil.copytree(place.path("finished"), folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    before = place.files("done")
    assert main(*finished, "--output_dir", str(folder)) == 2
    assert f"--output_dir {folder} holds a finished model already; choose another" in capsys.readouterr().err
    assert place.files("done") == before


def test_an_output_folder_that_is_a_file(place: Workplace, finished: list[str], capsys: pytest.CaptureFixture) -> None:
    file = write(place.path("a file"), "x")
    assert main(*finished, "--output_dir", file) == 2
    assert f"--output_dir {file}: {file} is a file; choose another folder." in capsys.readouterr().err
    assert main(*finished, "--output_dir", file, "--dry_run") == 2
    assert f"--output_dir {file}: {file} is a file; choose another folder." in capsys.readouterr().err


def test_a_head_of_another_size(place: Workplace, finished: list[str], capsys: pytest.CaptureFixture) -> None:
    """A trained model on data with other labels: a new head is made only where the user says so."""
    file = write(place.path("time.jsonl"), SOUND.replace("LOC", "TIME"))
    arguments = [*finished, "--model_name_or_path", str(place.path("finished")), "--train_file", f"de={file}",
                 "--eval_languages", "de", "--output_dir", str(place.path("new-head"))]  # fmt: skip
    assert main(*arguments) == 2
    assert "add --ignore_mismatched_sizes to start with a new head" in capsys.readouterr().err
    assert main(*arguments, "--ignore_mismatched_sizes") == 0
    assert place.json("new-head", "config.json")["label2id"] == {"O": 0, "B-TIME": 1, "I-TIME": 2}
    evaluation = ["--validation_file", f"de={file}", "--do_eval", "--do_train", "false", "--output_dir",
                  str(place.path("evaluated"))]  # fmt: skip
    assert main(*arguments, *evaluation) == 2
    assert "unknown label 'B-TIME'; the model knows O, B-LOC" in capsys.readouterr().err


def test_a_model_without_a_tokenizer(place: Workplace, refusal: Callable[..., str], tmp_path: Path) -> None:
    """For which transformers makes one up that knows special tokens alone."""
    model = tmp_path / "model"
    shutil.copytree(place.model, model, ignore=shutil.ignore_patterns("tokenizer*", "vocab*", "special_tokens*"))
    why = "has no tokenizer: its vocabulary would be special tokens alone."
    assert refusal("--model_name_or_path", str(model)) == (
        f"--model_name_or_path {model} {why} Copy its files there, or name one with --tokenizer_name."
    )
    assert refusal("--tokenizer_name", str(model)) == f"--tokenizer_name {model} {why} Name another."
    named = ModelArguments(str(model), tokenizer_name=place.model)
    _, tokenizer = load_model(AutoModelForTokenClassification, named, ["O"], texts=tuple)
    assert "Bonn" in tokenizer.get_vocab()


def test_questions_to_a_model_of_another_task(
    place: Workplace, finished: list[str], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """Whose head has another number of labels: training makes a new one, evaluation has nothing to evaluate."""
    arguments = [
        "--model_name_or_path", str(place.path("finished")), "--dataset_name", "sample", "--languages", "sw",
        "--max_seq_length", "64", "--doc_stride", "8", "--max_train_samples", "4", "--max_eval_samples", "4",
        "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "out"), *scripts.TRAINING,
    ]  # fmt: skip
    assert main(*arguments, "--do_eval", script="run_qa") == 2
    assert (
        f"error: --model_name_or_path {place.path('finished')} is a BertForTokenClassification with 7 labels; an "
        f"answer has two, its start and its end. Give a model that was trained on questions, or add --do_train."
    ) in capsys.readouterr().err
    train = ["--method", "mtl", "--max_steps", "1", "--do_train", "--do_eval"]
    assert main(*arguments, *train, script="run_qa") == 0
    assert AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").qa_outputs.out_features == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A function that mounts a disk of so many KiB."""
    folder = tmp_path / "disk"

    def mount(size: int) -> Path:
        unmount()
        folder.mkdir(exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={size}k", "none", str(folder)]
        try:
            subprocess.run(["mount", *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a small disk cannot be mounted here: {error}")
        return folder

    def unmount() -> None:
        if folder.is_mount():
            # Lazily: a file that the failed command left open would hold it back.
            subprocess.run(["umount", "--lazy", folder], check=True)

    yield mount
    unmount()


@pytest.mark.skipif(os.name != "posix", reason="mounts a small disk")
@pytest.mark.parametrize(
    ("with_checkpoints", "without"),
    [([200], [24]), pytest.param([150, 240, 255], [8, 36, 40], marks=pytest.mark.slow)],
)
def test_a_full_disk_while_saving(
    place: Workplace,
    small_disk: Callable[[int], Path],
    capsys: pytest.CaptureFixture,
    with_checkpoints: list[int],
    without: list[int],
) -> None:
    """Whichever of a checkpoint's files meets the end of the disk, the checkpoint before survives and is used."""
    arguments = place.arguments("unused", *SEQ_REPTILE, "--do_train")
    whole = f"whole-{len(without)}"
    assert main(*arguments, "--output_dir", str(place.path(whole)), "--save_steps", "5") == 0
    expected = place.files(whole)["model.safetensors"]
    for size in with_checkpoints:
        disk = small_disk(size)
        output = ["--output_dir", str(disk / "out")]
        assert main(*arguments, *output, "--save_steps", "5") == 2
        error = capsys.readouterr().err
        assert "Could not write" in error and "checkpoint-10" in error and "make room" in error, size
        assert "Traceback" not in error
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        assert main(*arguments, *output, "--save_steps", "5") == 0
        assert "Continuing from" in capsys.readouterr().out
        assert (disk / "out" / "model.safetensors").read_bytes() == expected
    for size in without:
        assert main(*arguments, "--output_dir", str(small_disk(size) / "out"), "--save_strategy", "no") == 2
        assert "No space left" in (error := capsys.readouterr().err) or "the disk is full" in error
