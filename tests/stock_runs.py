"""Runs of a script with an argument of the stock trainer, and what there is to be seen of them."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook
from transformers import Trainer
from transformers.trainer_pt_utils import EvalLoopContainer
from transformers.utils import ModelOutput

from hf_seqreptile.models.multi_head import MultiHeadModel
from tests import pictures
from tests.scripts import SAMPLES, Place, sample_place, words_of_sample, write, write_model

SCRIPTS = [
    "run_ner", "run_qa", "run_xnli",
    *(
        pytest.param(script, marks=pytest.mark.slow)
        for script in ("run_glue", "run_multitask", "run_image_classification")
    ),
]  # fmt: skip
"""The scripts; what holds of pairs in `run_xnli` holds in `run_glue`, of which they are a case."""
SAMPLES_OF = {"run_ner": "ner", "run_qa": "qa", "run_xnli": "nli"}
"""The bundled sample of each, with one head for all languages."""
METRICS = {
    "run_ner": "de_accuracy", "run_qa": "de_f1", "run_xnli": "de_accuracy", "run_glue": "de_accuracy",
    "run_multitask": "de_accuracy", "run_image_classification": "de_accuracy",
}  # fmt: skip
"""A metric of each, which goes where an argument is `METRIC`."""
ALWAYS = (
    "--do_train", "--do_eval", "--do_predict", "--per_device_eval_batch_size", "2", "--inner_steps", "1",
    "--outer_learning_rate", "0.5", "--max_steps", "4", "--logging_steps", "1", "--save_strategy", "no",
)  # fmt: skip
"""A run of 4 outer updates."""
SAMPLES_OF_TASKS = {"max_train_samples": 12, "max_eval_samples": 7, "max_predict_samples": 5}
DATA = (
    "--eval_languages",
    "de",
    "sw",
    *(str(part) for name, n in SAMPLES_OF_TASKS.items() for part in (f"--{name}", n)),
)
TASKS = {
    task: {"problem": problem, "dataset_name": "sample", "languages": task, **SAMPLES_OF_TASKS}
    for task, problem in (("de", "ner"), ("sw", "nli"))
}
"""What `run_multitask` trains on, with a head each."""
OF_SCRIPTS = {
    "run_qa": ("--max_seq_length", "48", "--doc_stride", "16", "--max_train_samples", "4"),
    "run_image_classification": ("--eval_languages", "de"),
}
"""What the runs of a script have beside it."""

Breaks = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Seen:
    """A run of a script in this process, and what there is to be seen of it.

    Args:
        folder: the output folder.
        code: the exit code.
        out: standard output.
        err: standard error.
        trainer: of the run; `None` where it did not come so far.
        moves_to_cpu: how often evaluations moved what they had gathered to the CPU.
        was_deterministic: whether torch was told to use deterministic algorithms alone.
    """

    folder: Path
    code: int
    out: str
    err: str
    trainer: Any
    moves_to_cpu: int
    was_deterministic: bool

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Of the saved model; of one with several heads, those of each head's folder."""
        if self.has("model.safetensors"):
            return load_file(self.folder / "model.safetensors")
        folders = [path.parent for path in self.folder.glob("[!c]*/model.safetensors")]
        return {f"{one.name}.{name}": p for one in folders for name, p in load_file(one / "model.safetensors").items()}

    @property
    def config(self) -> dict[str, Any]:
        """Of the saved model; of one with several heads, that of the first task's head."""
        return self.json("config.json" if self.has("config.json") else "ner/config.json")

    @property
    def results(self) -> dict[str, Any]:
        """All metrics but for times."""
        times = ("_runtime", "_per_second", "_preparation_time", "total_flos")
        return {name: value for name, value in self.json("all_results.json").items() if not name.endswith(times)}

    @property
    def evaluations(self) -> list[int]:
        """The steps of the evaluations while training."""
        return self.steps("eval_de_runtime")

    @property
    def checkpoints(self) -> list[str]:
        """The names of the checkpoints, in order."""
        return sorted(path.name for path in self.folder.glob("checkpoint-*"))

    @property
    def optimizer(self) -> Any:
        """The optimizer that was trained with."""
        return self.trainer.optimizer.optimizer

    @property
    def loader(self) -> Any:
        """The training data's loader, as it was made."""
        loader = self.trainer.callback_handler.train_dataloader
        return getattr(loader, "base_dataloader", loader)

    @property
    def checkpointed(self) -> list[Any]:
        """How each layer whose activations are computed again does it."""
        encoder = self.trainer.model.base_model
        layers = encoder.encoder.layer if hasattr(encoder, "encoder") else encoder.layers
        return [layer._gradient_checkpointing_func for layer in layers if layer.gradient_checkpointing]

    def logged(self, name: str) -> list[Any]:
        """The values of one name in the log history."""
        return [entry[name] for entry in self.json("trainer_state.json")["log_history"] if name in entry]

    def steps(self, name: str) -> list[int]:
        """The steps at which a name was logged."""
        return [entry["step"] for entry in self.json("trainer_state.json")["log_history"] if name in entry]

    def has(self, *parts: str) -> bool:
        """Whether there is such a file in the output folder."""
        return self.folder.joinpath(*parts).exists()

    def json(self, name: str) -> Any:
        """What a file of the output folder holds."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def place_of(folder: Path, script: str) -> Place:
    """German and Swahili of the script's bundled sample; for `run_glue`, of that of pairs, as files; or pictures.

    For `run_multitask`, German entities and Swahili pairs.
    """
    if script in SAMPLES_OF:
        return sample_place(folder, script, SAMPLES_OF[script])
    if script == "run_image_classification":
        # One task, whose model is a plain one.
        train = pictures.write_pictures(folder / "pictures", {"crow": 8, "gull": 8})
        held = ["--validation_dir", f"de={train}", "--test_dir", f"de={train}"]
        model = pictures.write_model(folder / "model", "vit")
        return Place(folder, script, model, ["--train_dir", f"de={train}", *held])
    words = words_of_sample("nli", ["de", "sw"])
    if script == "run_multitask":
        model = write_model(folder / "model", words={*words, *words_of_sample("ner", ["de", "sw"])})
        return Place(folder, script, model, ["--tasks_file", write(folder / "tasks.yaml", json.dumps(TASKS))])
    model = write_model(folder / "model", words=words)
    data = [
        part
        for split in ("train", "validation", "test")
        for part in (f"--{split}_file", *(f"{task}={SAMPLES / f'nli/{task}/{split}.jsonl'}" for task in ("de", "sw")))
    ]
    # With the default seed, no score changes while it trains.
    return Place(folder, script, model, [*data, "--seed", "5"])


def run(place: Place, output: str, arguments: Sequence[str], breaks: Breaks = contextlib.nullcontext) -> Seen:
    """A run with `arguments`, in which the model may break; it leaves this process as it was."""
    data = () if place.script == "run_multitask" else DATA
    arguments = [METRICS[place.script] if argument == "METRIC" else argument for argument in arguments]
    own, out, err = OF_SCRIPTS.get(place.script, ()), io.StringIO(), io.StringIO()
    before, handler = dict(os.environ), logging.StreamHandler(err)
    # Its own handler keeps the stream that it was made with.
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _watching() as watched, breaks():
            code = place.main(*place.arguments(output, *ALWAYS, *data, *own, *arguments))
        deterministic = torch.are_deterministic_algorithms_enabled()
    finally:
        logger.removeHandler(handler)
        os.environ.clear()
        os.environ.update(before)
        torch.use_deterministic_algorithms(False)
    trainer = watched.trainers[-1] if watched.trainers else None
    return Seen(place.path(output), code, out.getvalue(), err.getvalue(), trainer, watched.moves, deterministic)


@dataclass
class _Watched:
    trainers: list[Trainer]
    moves: int = 0


@contextlib.contextmanager
def _watching() -> Iterator[_Watched]:
    """Take note of the trainers that are made, and of what they move to the CPU."""
    watched = _Watched([])
    make, move = Trainer.__init__, EvalLoopContainer.to_cpu_and_numpy

    def making(self: Trainer, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        watched.trainers.append(self)

    def moving(self: EvalLoopContainer) -> None:
        watched.moves += 1
        move(self)

    Trainer.__init__, EvalLoopContainer.to_cpu_and_numpy = making, moving  # type: ignore[method-assign]
    try:
        yield watched
    finally:
        Trainer.__init__, EvalLoopContainer.to_cpu_and_numpy = make, move  # type: ignore[method-assign]


@contextlib.contextmanager
def after_forward_passes(hook: Callable[[ModelOutput, int], Any]) -> Iterator[None]:
    """While a model trains, `hook` is given its output and the number of its inputs' rows, and may change it."""

    def after(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        # Of several heads, the one that is used is a model too.
        given = [kwargs[name] for name in ("input_ids", "pixel_values") if name in kwargs]
        is_of_model = isinstance(output, ModelOutput) and given and not isinstance(module, MultiHeadModel)
        return hook(output, len(given[0])) if module.training and is_of_model else None

    handle = register_module_forward_hook(after, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def memory_for_two() -> contextlib.AbstractContextManager[None]:
    """Batches of more than two rows do not fit into memory while training."""

    def fail(output: ModelOutput, rows: int) -> None:
        if rows > 2:
            raise RuntimeError("CUDA out of memory.")

    return after_forward_passes(fail)


def not_finite_from_step_2() -> contextlib.AbstractContextManager[None]:
    """The second batch and all after it have a loss that is no number."""
    passed = []

    def spoil(output: ModelOutput, rows: int) -> ModelOutput:
        passed.append(rows)
        factor = 1.0 if len(passed) == 1 else float("nan")
        return type(output)(**{name: value * factor for name, value in output.items()})

    return after_forward_passes(spoil)
