"""A study from its file to its page, with real runs of a tiny model."""

import csv
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForTokenClassification

from hf_seqreptile.analysis.runs import read_run
from hf_seqreptile.experiments.commands import run_script
from hf_seqreptile.experiments.graph import run_folder, write_graph
from hf_seqreptile.experiments.other_encoder import own_scores
from hf_seqreptile.experiments.run_node import FINISHED_FILE, run_node, weights_digest
from hf_seqreptile.study.__main__ import main
from hf_seqreptile.study.outcome import StudyOutcome, read_outcome
from hf_seqreptile.study.plan import StudyPlan, plan
from hf_seqreptile.study.presentation import write_outcome
from hf_seqreptile.study.study_file import read_study
from hf_seqreptile.yaml_text import parse_yaml
from tests.commands import kill_repeatedly, started
from tests.scripts import ROOT, sentences, words_of_sample, write, write_conll, write_model

SPLITS = ("train", "validation", "test")


def write_data(folder: Path) -> None:
    """A model, named entities in three languages, texts with their language, parallel sentences."""
    write_model(folder / "model")
    for language in ("de", "en", "sw"):
        for split in SPLITS:
            write_conll(folder / f"ner/{language}/{split}.conll", sentences(language, split))
    for split in SPLITS:
        rows = [{"text": " ".join(words), "label": x} for x in ("de", "sw") for words, _ in sentences(x, split)]
        write(folder / f"text/{split}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for language in ("de", "en"):
        lines = [" ".join(words) for words, _ in sentences(language)[:12]]
        write(folder / f"{language}.txt", "\n".join(f"{line} {i}" for i, line in enumerate(lines)))


def write_study(folder: Path) -> Path:
    """A study's file: entities in Swahili and the language of a text, in orders, before entities in English."""
    content = {
        "start": {"model_name_or_path": "model"},
        "arguments": {
            "learning_rate": 2e-2, "per_device_train_batch_size": 4, "use_cpu": True, "save_strategy": "no",
            "report_to": "none",
        },
        "intermediate": {
            "gradient_computations": 13,
            "tasks": {
                "tags": {"problem": "ner", "train_file": "ner/sw/train.conll",
                         "validation_file": "ner/sw/validation.conll"},
                "which": {"problem": "text", "train_file": "text/train.jsonl",
                          "validation_file": "text/validation.jsonl"},
            },
        },
        "conditions": [
            "single",
            {"joint": "seq_reptile --inner_steps 3 --outer_learning_rate 0.5"},
            {"orders": "all"},
            {"orders": "size_up", "rehearsal": 0.25},
        ],
        "targets": {
            "entities": {
                "problem": "ner", "train": "en", "evaluate": ["en", "de", "sw"], "gradient_computations": 10,
                "train_file": "ner/{language}/train.conll", "validation_file": "ner/{language}/validation.conll",
                "test_file": "ner/{language}/test.conll",
            },
            "translations": {"problem": "retrieval", "pairs": {"de": ["de.txt", "en.txt"]}},
        },
        "seeds": [1, 2],
    }  # fmt: skip
    return Path(write(folder / "study.yaml", json.dumps(content, indent=1)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> StudyPlan:
    """All runs, made here; the engine is another test's."""
    study = read_study(write_study(folder))
    made = plan(study, study.model, folder / "out")
    write_graph(made.graph, folder / "out")
    for name in made.graph:
        run_node(made.graph, name, folder / "out")
    return made


@pytest.fixture(scope="module")
def outcome(made: StudyPlan, folder: Path) -> StudyOutcome:
    return read_outcome(made, folder / "out")


def run_of(folder: Path, name: str) -> Path:
    found = run_folder(folder / "out", name)
    assert found is not None
    return found


def test_a_run_says_what_it_followed_and_what_it_started_from(made: StudyPlan, folder: Path) -> None:
    for nodes in made.phases.values():
        for names in nodes.values():
            for parent, name in zip([None, *names], names, strict=False):
                facts = json.loads((run_of(folder, name) / FINISHED_FILE).read_text())
                if parent is None:
                    assert "parents" not in facts and facts["started_from"] == weights_digest(folder / "model")
                else:
                    assert facts["parents"][0] == run_of(folder, parent).name
                    assert facts["started_from"] == weights_digest(run_of(folder, parent))


def test_all_conditions_cost_the_same(made: StudyPlan, folder: Path) -> None:
    for names in (names for nodes in made.phases.values() for names in nodes.values()):
        assert sum(read_run(run_of(folder, name)).gradients or 0 for name in names) == 13


def test_an_order_carries_the_encoder_and_leaves_the_head(made: StudyPlan, folder: Path) -> None:
    first, second = (run_of(folder, name) for name in made.phases["after.tags+which.of2"][1])
    assert f"--model_name_or_path {first}/encoder " in (second / "command.sh").read_text()
    assert read_run(second).problem == "text-classification"
    # Thirteen steps at most away from where the first phase ended, and not back at the start.
    begun, ended = (AutoModel.from_pretrained(path).state_dict() for path in (first, second))
    start = AutoModel.from_pretrained(folder / "model").state_dict()
    name = "embeddings.word_embeddings.weight"
    assert (ended[name] - begun[name]).norm() < (ended[name] - start[name]).norm()


def test_rehearsal_carries_the_head(made: StudyPlan, folder: Path) -> None:
    (name,) = (name for name in made.phases if "rehearsal" in name)
    first, second = made.phases[name][1]
    kept = AutoModelForTokenClassification.from_pretrained(run_of(folder, second) / "tags").classifier.weight
    begun = AutoModelForTokenClassification.from_pretrained(run_of(folder, first)).classifier.weight
    new = AutoModelForTokenClassification.from_pretrained(folder / "model", num_labels=len(begun)).classifier.weight
    assert (kept - begun).norm() < 0.5 * (new - begun).norm()
    assert own_scores(run_of(folder, second))["validation"].keys() == {"tags", "which", "avg"}


def test_what_was_forgotten_is_scored_by_the_head_that_was_left(made: StudyPlan, folder: Path, tmp_path: Path) -> None:
    """The model of an earlier phase with the later phase's encoder in it, by hand."""
    first, second = (run_of(folder, name) for name in made.phases["after.tags+which.of2"][1])
    model = AutoModelForTokenClassification.from_pretrained(first)
    later = AutoModel.from_pretrained(second)
    with torch.no_grad():
        for name, parameter in model.base_model.named_parameters():
            parameter.copy_(later.get_parameter(name))
    model.save_pretrained(tmp_path)
    after = json.loads((second / "after_phase.json").read_text())
    argv = ["--train_file", f"tags={folder}/ner/sw/train.conll", "--validation_file",
            f"tags={folder}/ner/sw/validation.conll", "--do_eval", "--use_cpu"]  # fmt: skip
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((first / file).read_bytes())
    command = [str(ROOT / "run_ner.py"), *argv, "--model_name_or_path", str(tmp_path)]
    run_script([*command, "--output_dir", str(tmp_path / "out")])
    scored = json.loads((tmp_path / "out/eval_results.json").read_text())
    assert after["earlier"] == {"tags": pytest.approx(scored["eval_tags_f1"])}


def test_scores_and_differences_are_those_of_the_runs(outcome: StudyOutcome, made: StudyPlan, folder: Path) -> None:
    entities, translations = outcome.targets
    assert entities.split == "test" and list(entities.transferred) == ["de", "sw"]
    for condition in outcome.conditions:
        for seed, name in made.targets["entities", condition.name].items():
            run = read_run(run_of(folder, name))
            mean = (run.needed_score("test", "de") + run.needed_score("test", "sw")) / 2
            assert entities.by_seed(condition.name)[seed - 1] == pytest.approx(mean)
        effect = outcome.effects["entities", condition.name]
        if condition.phases:
            means = [sum(entities.by_seed(name)) / 2 for name in (condition.name, "none")]
            assert effect.difference is not None
            assert effect.difference.value == pytest.approx(means[0] - means[1])
            assert effect.difference.counts_examples and effect.difference.counts_seeds
    assert translations.by_seed("none")[0] == translations.by_seed("none")[1], "nothing is drawn"
    for condition in outcome.conditions[1:]:
        # Seeds that find the same are no proof: twelve pairs of sentences are few.
        difference = outcome.effects["translations", condition.name].difference
        assert difference is not None and difference.counts_examples and difference.low < difference.high


def test_the_report(outcome: StudyOutcome, folder: Path, tmp_path: Path) -> None:
    files = {path.name for path in write_outcome(outcome, tmp_path)}
    assert {"study.md", "study.csv", "study.json", "index.html", "intermediate_effects.png"} <= files
    assert "intermediate_forgetting.png" in files
    text = (tmp_path / "study.md").read_text()
    for part in (
        "entities: 2 orders of 2 seeds are too few to tell",
        "tags → which",
        "translations",
        "What phases forgot",
        "Cost",
        "± ",
    ):
        assert part in text, part
    rows = list(csv.DictReader((tmp_path / "study.csv").open(encoding="utf-8")))
    # Seven conditions and two seeds: three languages, and one pair.
    assert len(rows) == 7 * 2 * (3 + 1)
    assert {row["kind"] for row in rows} == {"none", "single", "joint", "order"}
    found = json.loads((tmp_path / "study.json").read_text())
    assert [one["permutations"] for one in found["orders"]] == [2, 2]
    page = (tmp_path / "index.html").read_text()
    assert "Intermediate tasks: study" in page and page.count("data:image/png") == 2


@pytest.mark.slow
def test_the_recipe_of_the_samples(tmp_path: Path) -> None:
    """From end to end, with a tiny model in place of the real one."""
    words = {word for problem in ("ner", "nli", "qa") for word in words_of_sample(problem, ["de", "en", "sw"])}
    content = parse_yaml((ROOT / "recipes/intermediate_sample.yaml").read_text(encoding="utf-8"))
    content["start"] = {"model_name_or_path": write_model(tmp_path / "model", words=words)}
    content["arguments"]["use_cpu"] = True
    for task in content["intermediate"]["tasks"].values():
        task["max_seq_length"] = 64
    write(tmp_path / "study.yaml", json.dumps(content))
    main([str(tmp_path / "study.yaml"), "--output_dir", str(tmp_path / "out"), "--jobs", "2"])
    found = json.loads((tmp_path / "out/study.json").read_text())
    assert found["targets"].keys() == content["targets"].keys()
    assert list(found["phases"]) == ["none", "nli", "qa", "joint: seq_reptile, K=3, η=0.5", "nli → qa", "qa → nli"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_continued_and_changed(tmp_path: Path, folder: Path, outcome: StudyOutcome) -> None:
    """It ends as if it had never been stopped; a new target leaves what was there; a new budget does not."""
    write_data(tmp_path)
    study = write_study(tmp_path)
    command = ["hf_seqreptile.study", str(study), "--output_dir", str(tmp_path / "out"), "--jobs", "2"]
    kill_repeatedly(*command, times=6, step=6)
    running = started(*command)
    text, _ = running.communicate(timeout=550)
    assert running.returncode == 0, text
    (folder / "report").mkdir()
    write_outcome(outcome, folder / "report")
    assert (tmp_path / "out/study.csv").read_text() == (folder / "report/study.csv").read_text()

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob(f"*/{FINISHED_FILE}")}
    content = json.loads(study.read_text())
    content["targets"]["entities"]["gradient_computations"] = 4
    study.write_text(json.dumps(content, indent=1))
    text, _ = started(*command).communicate(timeout=550)
    now = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/runs").glob(f"*/{FINISHED_FILE}")}
    assert times.items() <= now.items()
    assert all(path.parent.name.startswith("entities.") for path in now.keys() - times.keys())
    assert len(now) - len(times) == 14


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(write_study(folder)), "--output_dir", str(tmp_path / "out"), "--dry_run"])
    text = capsys.readouterr().out
    assert "7 conditions: none; tags; which; joint: seq_reptile, K=3, η=0.5; tags → which; which → tags" in text
    assert "0 are done" in text and not (tmp_path / "out").exists()
