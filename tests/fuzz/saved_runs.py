"""Finished output folders, as the report reads them back."""

from pathlib import Path

from hf_seqreptile.analysis.runs import MAIN_SETTINGS, read_run
from tests.fuzz.reader import Reader

FILES = {
    "training_args.json": '{"method": "seq_reptile", "inner_steps": 3, "seed": 1}',
    "config.json": '{"architectures": ["BertForTokenClassification"]}',
    "scores.json": '{"zero_shot": ["tr"], "scores": {"test": {"seq_reptile": {"de": 0.5, "tr": null, "avg": null}}}}',
    "trainer_state.json": '{"log_history": [{"step": 1, "loss": 1.0, "draws/de": 1}]}',
    "README.md": "---\nlanguage:\n- de\nbase_model: a/b\n---\n\n# A\n",
}


def read(data: bytes, folder: Path) -> None:
    """The first byte says which file the others replace; what is read has the form that the analyses rely on."""
    for name, content in FILES.items():
        (folder / name).write_text(content)
    (folder / list(FILES)[data[0] % len(FILES) if data else 0]).write_bytes(data[1:])
    run = read_run(folder)
    assert isinstance(run.draws_per_step, float | int | None)
    assert run.settings.keys() >= set(MAIN_SETTINGS)
    assert isinstance(run.score(), float | int | None)


def _seed(name: str, content: str | None = None) -> bytes:
    return bytes([list(FILES).index(name)]) + (FILES[name] if content is None else content).encode()


READER = Reader(
    read,
    seeds=(
        *map(_seed, FILES),
        _seed("training_args.json", '{"method": ["mtl"]}'),
        _seed("training_args.json", '{"method": "mlt"}'),
        _seed("training_args.json", '{"learning_rate": {}}'),
        _seed("config.json", '{"architectures": 1}'),
        _seed("config.json", '{"task_type": ["TOKEN_CLS"]}'),
        _seed("scores.json", '{"scores": {"test": [1]}}'),
        _seed("trainer_state.json", '{"log_history": [{"loss": 1.0, "draws/de": 1}]}'),
        _seed("trainer_state.json", '{"log_history": [{"step": 0, "draws/de": 1}]}'),
        _seed("README.md", "---\nlanguage: !!timestamp x\n---\n"),
        _seed("README.md", "---\nbase_model: [a]\n---\n"),
    ),
    words=(
        b"{", b"}", b"[", b"]", b'"scores": ', b'"log_history": ', b'"step": ', b'"draws/de": ', b'"method": ',
        b"null", b"1e999", b"---\n", b"&a", b"*a", b"!!int ''", b"9" * 5000, b"[" * 2000, b"\0",
    ),
)  # fmt: skip
