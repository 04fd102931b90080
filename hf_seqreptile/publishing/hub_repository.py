"""Publishing a finished folder on the Hub: what arrives there, and what stays on this machine."""

import json
import re
import shlex
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from ..errors import InputError
from ..models.multi_head_folder import ENCODER, HEADS_FILE, heads_in

PUBLISHED = (
    "README.md", "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
    "adapter_config.json", "model_config.json", "preprocessor_config.json", "*.py",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.jinja",
    "training_args.json", "trainer_state.json", "training.png", "scores.*", "*_results.json", HEADS_FILE,
)  # fmt: skip
"""The names that are published: model, tokenizer, card, scores and settings. Only those, and of
subfolders none but what lies in those of heads and their encoder.

So checkpoints (optimizer states are pickles), clusters and predictions (texts of the user's data), logs and
trackers' files (paths of this machine) stay here, whatever else a folder comes to hold.
"""
MENDS = {401: "Log in with `hf auth login` or give --hub_token", 403: "Give a token that may, or another name"}
"""What to do about a status of the Hub."""
ADAPTER_FILE = "adapter_config.json"
ADAPTER_BASE = "base_model_name_or_path"


class PushError(InputError):
    """A model that is finished and safe in its folder did not arrive on the Hub. The message says how to push it."""


def hub_id(name: str | None) -> str | None:
    """The name of a model or dataset if it can be one of the Hub's; `None` for a path of this machine."""
    # A folder of that name comes first for transformers and datasets, too.
    is_id = name and re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", name, re.ASCII) and not Path(name).exists()
    return name if is_id else None


def check_push(args: TrainingArguments) -> None:
    """Refuse a push that cannot work, or that would publish what stays on this machine.

    Raises:
        InputError: the Hub is switched off, or checkpoints with their optimizer states are to be pushed.
    """
    if not args.push_to_hub:
        return
    strategy = HubStrategy(args.hub_strategy)
    if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        raise InputError(
            f"--hub_strategy {strategy.value} is not supported: checkpoints hold pickles and paths of this "
            f"machine. Use --hub_strategy end; the finished model is pushed once."
        )
    if is_offline_mode():
        raise InputError(
            "--push_to_hub needs the Hub, but HF_HUB_OFFLINE is set. Unset it, or train without --push_to_hub and "
            "push the folder later (docs/publishing.md)."
        )


def repository_name(args: TrainingArguments, suffix: str = "") -> str:
    """The repository's name: `hub_model_id` or the output folder's name, then `suffix`.

    Raises:
        InputError: the Hub takes no such name.
    """
    name = (args.hub_model_id or Path(args.output_dir or "").absolute().name) + suffix
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--push_to_hub: {_reason(error)}. Choose another --hub_model_id.") from error
    return name


def open_repository(name: str, *, token: str | None, private: bool | None, revision: str | None) -> str:
    """Make the repository if there is none, and see that the token may write there.

    Args:
        name: `name` or `owner/name`.
        token: default: the one of `HF_TOKEN` or `hf auth login`.
        private: of a new repository. Default: what the owner's account says.
        revision: a branch to push to, made if there is none. Default: `main`.

    Returns:
        The repository's full name, `owner/name`.

    Raises:
        InputError: no or a wrong token, somebody else's name, or no connection.
    """
    api = HfApi(token=token or None)
    try:
        repository = api.create_repo(name, private=private, exist_ok=True).repo_id
        # One that exists can be read by others, too.
        api.auth_check(repository, write=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
    except Exception as error:  # The network's classes are many.
        mend = MENDS.get(_status(error), "Try again, or train without --push_to_hub and push the folder later")
        raise InputError(
            f"--push_to_hub: cannot write to {name!r} on the Hub: {_reason(error)}. {mend} (docs/publishing.md)."
        ) from error
    return repository


def published_files(folder: Path) -> dict[str, str | bytes]:
    """What is published of a folder, by name: the file's path, or its content where that has to differ.

    PEFT notes the path of an adapter's base model, which is left out where it is of this machine.
    """
    heads = heads_in(folder)
    files: dict[str, str | bytes] = {}
    for place in ["", *([] if heads is None else [*heads, ENCODER])]:
        names = sorted(path.name for path in (folder / place).iterdir() if _is_published(path))
        files |= {f"{place}/{name}" if place else name: str(folder / place / name) for name in names}
    for name in [name for name in files if Path(name).name == ADAPTER_FILE]:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
        if config.get(ADAPTER_BASE) and hub_id(config[ADAPTER_BASE]) is None:
            files[name] = json.dumps(config | {ADAPTER_BASE: None}, indent=2).encode()
    return files


def _is_published(path: Path) -> bool:
    return path.is_file() and any(fnmatch(path.name, pattern) for pattern in PUBLISHED)


def push(
    folder: Path,
    repository: str,
    *,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "End of training",
) -> CommitInfo:
    """Publish a finished folder as one commit: all of [`published_files`] or, where it fails, none.

    Args:
        folder: with a model.
        repository: `owner/name`; exists.
        token: default: the one of `HF_TOKEN` or `hf auth login`.
        revision: the branch. Default: `main`.
        commit_message: of the commit.

    Raises:
        PushError: it failed; the folder is as before.
    """
    files = published_files(folder)
    try:
        return HfApi(token=token or None).create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=commit_message,
            revision=revision,
        )
    except Exception as error:  # The network's classes are many, and none may cost the caller its results.
        raise PushError(
            f"{folder} is complete, but was not pushed: {_reason(error)}. Push it later:\n"
            f"{upload_command(folder, repository, revision)}"
        ) from error


def upload_command(folder: Path, repository: str, revision: str | None = None) -> str:
    """The command that publishes what [`push`] publishes."""
    files = published_files(folder)
    options = [*(["--revision", revision] if revision else []), *(part for n in files for part in ("--include", n))]
    command = shlex.join(["hf", "upload", repository, str(folder), ".", *options])
    changed = [str(folder / name) for name, content in files.items() if isinstance(content, bytes)]
    if changed:
        return f"(first set {ADAPTER_BASE} in {', '.join(changed)}, a path of this machine, to null)\n{command}"
    return command


def push_all(folders: Mapping[Path, str], args: TrainingArguments) -> None:
    """Publish each folder in its repository; what fails keeps no other from its turn.

    Raises:
        PushError: some failed; the message has each one's reason and command.
    """
    failures = []
    for folder, repository in folders.items():
        try:
            print(f"Pushed: {push(folder, repository, token=args.hub_token, revision=args.hub_revision).repo_url}")
        except PushError as error:
            failures.append(str(error))
    if failures:
        raise PushError("\n".join(failures))


def _status(error: Exception) -> int:
    """The status that the Hub answered with; 0 where it did not."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def _reason(error: Exception) -> str:
    # The Hub's own words where it said some.
    text = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
    status = f"{_status(error)}: " if _status(error) else ""
    return status + text.splitlines()[0].rstrip(". ")
