"""Texts as vectors: an encoder's hidden states, one vector a text and layer, in a memory-mapped array."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from filelock import FileLock
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..digests import dataset_digest, digest, model_digest, tables
from ..errors import InputError
from .embeddings_file import ARRAY, TOKENS, open_array, read_progress, write_progress

LOCK = ".lock"
TOKENS_AT_ONCE = {"cpu": 4096}
"""Subwords of a batch, padding included, by device; accelerators take `TOKENS_ON_ACCELERATOR`."""
TOKENS_ON_ACCELERATOR = 32768
SAVE_EVERY = 5.0
"""Seconds of work that a killed process loses at most."""
# Goes into the key: raise it when the same inputs must give other embeddings than they did before.
_RECIPE = 2
POOLINGS = ("mean", "cls")
"""How a text's subwords become one vector: the mean of their states, special ones included, or the first one's."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a dataset's rows.

    Args:
        array: float32, shape (rows, layers × hidden size), memory-mapped, the layers' vectors side by side; what is
            written to it does not reach the file.
        encoded: rows that were encoded now; the others had been before.
        seconds: spent in the encoder.
    """

    array: NDArray[np.float32]
    encoded: int
    seconds: float


@dataclass(frozen=True)
class SentenceEncoder:
    """What turns rows into vectors.

    Args:
        model: an encoder; of a model with a head, the part below it is used.
        tokenizer: its own.
        columns: the columns of text, or of lists of words. Two make a pair for the tokenizer; those after the second
            are appended to it.
        max_length: subwords after which a row is cut; at most what the tokenizer says that the model takes.
        layers: whose states to take, each by the number of blocks before it: 0 for the embeddings, and so on. Default:
            the last.
        pooling: one of `POOLINGS`.

    Raises:
        InputError: no columns, no room for text in `max_length`, a layer that the model does not have, or another
            pooling.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    columns: Sequence[str]
    max_length: int
    layers: Sequence[int] | None = None
    pooling: str = POOLINGS[0]

    def __post_init__(self) -> None:
        check_pooling(self.pooling)
        check_layers(self.layers, self.model.config)
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise InputError(f"--text_columns {' '.join(self.columns)}: name one or more columns, each once.")
        special = self.tokenizer.num_special_tokens_to_add(pair=len(self.columns) > 1)
        if self.max_length <= special:
            raise InputError(
                f"--max_length {self.max_length} leaves no room for text: this model adds {special} tokens of its own "
                f"to each row."
            )

    def check(self, dataset: Dataset) -> None:
        """Raise InputError unless each row has a text in each of the columns."""
        for column in self.columns:
            if column not in dataset.column_names:
                raise InputError(
                    f"--text_columns: {column} is not a column of the data, which has {dataset.column_names}."
                )
            feature = dataset.features[column]
            if getattr(getattr(feature, "feature", feature), "dtype", None) not in ("string", "large_string"):
                raise InputError(
                    f"--text_columns: column {column!r} holds {feature}; it must hold a text, or a list of words, in "
                    f"each row."
                )
        before = 0
        for table in tables(dataset.select_columns(list(self.columns))):
            for column in self.columns:
                is_blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(_joined(table[column])), ""), True)
                row = pc.index(is_blank, True).as_py()
                if row >= 0:
                    raise InputError(
                        f"Row {before + row + 1} has no text in column {column!r}; fill it in or delete the row."
                    )
            before += len(table)

    def key(self, dataset: Dataset) -> str:
        """Differs wherever the embeddings of `dataset` might: other texts, weights, tokenizer, length or precision."""
        # The tokenizer's first call with new settings changes its state, and with it its hash.
        self._tokenize({column: ["a"] for column in self.columns})
        return digest(
            _RECIPE,
            dataset_digest(dataset.select_columns(list(self.columns))),
            model_digest(self._base),
            Hasher.hash(self.tokenizer),
            self._limit,
            self.given_layers,
            self.pooling,
            "float32" if _device().type == "cpu" else "bfloat16",
        )

    def embed(self, dataset: Dataset, folder: Path) -> Embeddings:
        """The vectors of each row: its subwords' states, pooled, after each of the layers.

        Goes on where a process that was killed stopped, and does nothing where all rows were encoded before; the
        array is the same, bit for bit. Embeddings of anything else that are in the folder, and damaged files, are
        written over.

        Args:
            dataset: has passed `check`.
            folder: of the array, and of what is needed to go on.

        Raises:
            InputError: the disk is too full.
        """
        key = self.key(dataset)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = 0.0
        # Runs that share a cache may start together: one encodes, the others wait.
        with FileLock(folder / LOCK):
            shape = (len(dataset), len(self.given_layers) * self.model.config.hidden_size)
            finished = read_progress(folder, key, shape)
            if finished < len(dataset):
                array = open_array(folder, shape, is_new=finished == 0)
                seconds = self._encode(dataset, array, folder, key, finished)
            (folder / TOKENS).unlink(missing_ok=True)
        # Copy-on-write: scikit-learn copies whole arrays that it may not write to.
        array = np.load(folder / ARRAY, mmap_mode="c")
        return Embeddings(array, encoded=len(dataset) - finished, seconds=seconds)

    @property
    def _base(self) -> PreTrainedModel:
        return cast(PreTrainedModel, self.model.base_model)

    @property
    def given_layers(self) -> list[int]:
        """The layers whose vectors stand side by side: those given, or the last."""
        return [count_layers(self.model.config)] if self.layers is None else list(self.layers)

    @property
    def _limit(self) -> int:
        return min(self.max_length, self.tokenizer.model_max_length)

    def _encode(self, dataset: Dataset, array: np.memmap, folder: Path, key: str, finished: int) -> float:
        """Fill `array` from the row `finished`, in order of length, on; the seconds spent in the encoder."""
        tokens = dataset.map(
            self._tokenize,
            batched=True,
            remove_columns=dataset.column_names,
            cache_file_name=str(folder / TOKENS),
            new_fingerprint=key,
            desc="Tokenizing",
        ).with_format("arrow")
        lengths = pc.list_value_length(tokens[:]["input_ids"]).to_numpy()
        # The longest first: too little memory shows at once, and the estimated time is not too short.
        order = np.argsort(-lengths, kind="stable")
        device = _device()
        budget = TOKENS_AT_ONCE.get(device.type, TOKENS_ON_ACCELERATOR)
        seconds, saved = 0.0, perf_counter()
        with (
            _ready(self._base, device) as model,
            tqdm(
                total=int(lengths.sum()),
                initial=int(lengths[order[:finished]].sum()),
                desc="Encoding",
                unit=" tokens",
                unit_scale=True,
            ) as bar,
        ):
            for start, stop in _batches(lengths[order], budget, finished):
                rows = order[start:stop]
                inputs = self._pad(tokens[rows])
                began = perf_counter()
                array[rows] = self._vectors(model, inputs, device)
                seconds += perf_counter() - began
                bar.update(int(lengths[rows].sum()))
                if stop == len(dataset) or perf_counter() - saved >= SAVE_EVERY:
                    array.flush()
                    write_progress(folder, key, stop)
                    saved = perf_counter()
        return seconds

    def _vectors(
        self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], device: torch.device
    ) -> NDArray[np.float32]:
        """Each row's pooled states, padding left out; shape (rows, layers × hidden size)."""
        inputs = {name: values.to(device) for name, values in inputs.items()}
        last = count_layers(model.config)
        with torch.inference_mode():
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type != "cpu"):
                output = model(**inputs, output_hidden_states=self.given_layers != [last])
            mask = inputs["attention_mask"].unsqueeze(-1)
            vectors = []
            for layer in self.given_layers:
                states = (output.last_hidden_state if layer == last else output.hidden_states[layer]).float()
                vectors.append(states[:, 0] if self.pooling == "cls" else (states * mask).sum(dim=1) / mask.sum(dim=1))
            return torch.cat(vectors, dim=1).cpu().numpy()

    def _tokenize(self, rows: dict[str, list[str] | list[list[str]]]) -> dict[str, list[list[int]]]:
        first, *others = ([as_text(value) for value in rows[column]] for column in self.columns)
        second = [" ".join(parts) for parts in zip(*others, strict=True)] if others else None
        encoded = self.tokenizer(first, second, truncation=True, max_length=self._limit, return_attention_mask=False)
        return {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}

    def _pad(self, table: Any) -> dict[str, torch.Tensor]:
        """The model's inputs, each of shape (rows, subwords of the longest)."""
        lengths = pc.list_value_length(table["input_ids"]).to_numpy()
        mask = np.arange(lengths.max()) < lengths[:, None]
        # Whatever stands in padding is masked; 0 where the tokenizer has no token for it.
        fill = {"input_ids": self.tokenizer.pad_token_id or 0, "token_type_ids": self.tokenizer.pad_token_type_id}
        inputs = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
        for name in table.column_names:
            padded = np.full(mask.shape, fill[name], dtype=np.int64)
            padded[mask] = pc.list_flatten(table[name]).to_numpy()
            inputs[name] = torch.from_numpy(padded)
        return inputs


def count_layers(config: PreTrainedConfig) -> int:
    """The blocks of an encoder; 0 where its configuration does not say, and only the last layer can be had."""
    return int(getattr(config, "num_hidden_layers", 0))


def check_layers(layers: Sequence[int] | None, config: PreTrainedConfig, argument: str = "--layers") -> None:
    """Raise InputError unless an encoder has each of the layers, named once; `argument` named them."""
    last = count_layers(config)
    for layer in layers or ():
        if not 0 <= layer <= last:
            raise InputError(
                f"{argument}: {layer} is no layer of this model, whose last block is {last}. Give numbers from 0 (the "
                f"embeddings) to {last}."
            )
    if layers is not None and (not layers or len(set(layers)) < len(layers)):
        raise InputError(f"{argument} {' '.join(map(str, layers))}: name one or more layers, each once.")


def check_pooling(pooling: str) -> None:
    """Raise InputError unless the pooling is one of `POOLINGS`."""
    if pooling not in POOLINGS:
        raise InputError(f"--pooling {pooling} is none of {', '.join(POOLINGS)}.")


def as_text(value: str | Sequence[str]) -> str:
    """A cell's text; its words, where it is a list of them, are separated by spaces."""
    return value if isinstance(value, str) else " ".join(value)


def _joined(column: Any) -> Any:
    """[`as_text`] for a column of Arrow."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    return pc.binary_join(column, " ") if is_list else column


def _device() -> torch.device:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


@contextmanager
def _ready(model: PreTrainedModel, device: torch.device) -> Iterator[PreTrainedModel]:
    """The model on `device` and without dropout; afterwards as it was."""
    was_training, was_on = model.training, model.device
    model.eval().to(device)
    try:
        yield model
    finally:
        model.train(was_training).to(was_on)


def _batches(lengths: NDArray[np.int64], budget: int, start: int) -> Iterator[tuple[int, int]]:
    """From and to of each batch of rows, whose lengths descend, with at most `budget` subwords, or one row."""
    while start < len(lengths):
        stop = min(len(lengths), start + max(1, budget // max(1, int(lengths[start]))))
        yield start, stop
        start = stop
