"""All fuzzed readers, by name."""

from tests.fuzz import (
    arguments,
    caches,
    checkpoint,
    conll,
    csv_files,
    e5,
    files,
    glue_files,
    json_files,
    saved_runs,
    squad,
)
from tests.fuzz.reader import Reader

READERS: dict[str, Reader] = {
    "CoNLL": conll.READER,
    "SQuAD": squad.READER,
    "JSON": json_files.JSON,
    "JSON lines": json_files.JSON_LINES,
    "CSV": csv_files.READER,
    "GLUE": glue_files.READER,
    "YAML arguments": arguments.YAML,
    "JSON arguments": arguments.JSON,
    "multitask state": checkpoint.STATE_READER,
    "trainer state": checkpoint.LAST,
    "trajectory": checkpoint.TRAJECTORY,
    "optimizer state": checkpoint.OPTIMIZER,
    "clusters": caches.CLUSTERS,
    "embeddings": caches.EMBEDDINGS,
    "e5 weights": e5.READER,
    "saved run": saved_runs.READER,
    **files.FILES,
}
