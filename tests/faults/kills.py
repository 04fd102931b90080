"""Real runs, killed at random moments again and again, compared with runs that were left alone."""

import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hf_seqreptile.training.checkpoints import last_complete_checkpoint
from tests.forks import exit_code, started
from tests.scripts import Place, Workplace, end_as, sample_place

METHODS = {
    "seq_reptile": ["--inner_steps", "6", "--outer_learning_rate", "0.8"],
    "reptile": ["--inner_steps", "3"],
    "mtl": ["--tasks_per_step", "2"],
    "pcgrad": ["--tasks_per_step", "2"],
    "gradvac": ["--tasks_per_step", "2"],
    "gradnorm": ["--tasks_per_step", "2"],
    "recadam": ["--tasks_per_step", "2", "--recadam_t0", "9", "--recadam_gamma", "50"],
    "swep": ["--tasks_per_step", "2"],
}
"""Methods that keep different things in a checkpoint, with settings for short runs."""

LENGTH = ["--max_steps", "40", "--save_steps", "2", "--save_total_limit", "2", "--do_train", "--do_eval"]
KILLS_OF_A_RUN = 4
"""After so many a run is left alone to end."""


@dataclass
class Kills:
    """What became of the kills.

    Attributes:
        where: the number of kills by what they hit.
        differences: runs that ended elsewhere than the uninterrupted one.
        unusable: runs that could not be continued.
    """

    where: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """The number of kills."""
        return self.where.total()


def places(folder: Path) -> list[Place]:
    """A place for each script."""
    answers = sample_place(folder / "qa", "run_qa", "qa")
    # Contexts are longer, and so are cut into windows.
    answers.data_arguments += ["--max_seq_length", "48", "--doc_stride", "16"]
    return [Workplace(folder / "ner"), answers, sample_place(folder / "xnli", "run_xnli", "nli")]


def kill_runs(place: Place, method: str, kills: int, draw: random.Random, into: Kills) -> None:
    """Kill runs of one script and method until there were so many kills, and add what became of them to `into`."""
    whole = f"{place.script}-{method}-{into.tried}"
    arguments = place.arguments(whole, "--method", method, *METHODS[method], *LENGTH)
    log = place.path(f"{whole}.log")
    start = time.monotonic()
    assert exit_code(log, end_as, place.script, arguments) == 0, log.read_text()
    duration = time.monotonic() - start
    number, wanted = 0, into.tried + kills
    while into.tried < wanted:
        number += 1
        output = f"{whole}-{number}"
        own = [*arguments, "--output_dir", str(place.path(output))]
        log = place.path(f"{output}.log")
        code: int | None = -signal.SIGKILL
        for _ in range(min(KILLS_OF_A_RUN, wanted - into.tried)):
            with started(log, end_as, place.script, own) as process:
                start = time.monotonic()
                process.join(draw.uniform(0, duration))
                process.kill()
                process.join()
                code = process.exitcode
            if code != -signal.SIGKILL:
                # It ended by itself. The next moments are drawn from the time that this one took.
                duration = time.monotonic() - start
                break
            into.where[_where(place.path(output))] += 1
        if code == -signal.SIGKILL:
            code = exit_code(log, end_as, place.script, own)
        if code:
            into.unusable.append(f"{place.path(output)}: {log.read_text()[-2000:]}")
        elif difference := _difference(place.files(output), place.files(whole)):
            into.differences.append(f"{place.path(output)}: {difference}")


def _where(folder: Path) -> str:
    """What a kill hit, from what it left."""
    numbers = {int(path.name.partition("-")[2]): path for path in folder.glob("checkpoint-*")}
    if not numbers:
        return "before the first checkpoint"
    if (folder / "config.json").exists():
        return "while the model is saved or evaluated"
    if last_complete_checkpoint(folder) != numbers[max(numbers)]:
        return "in the middle of a checkpoint"
    return "between checkpoints"


def _difference(files: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> str:
    names = [sorted(name for name in each if "/" not in name) for each in (files, wanted)]
    if names[0] != names[1]:
        return f"files {names[0]} in place of {names[1]}"
    return ", ".join(name for name in ("model.safetensors", "scores.json") if files[name] != wanted[name])
