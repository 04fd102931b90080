"""`run_image_classification.py` from end to end: what a user gets for pictures of one task or of several."""

import json
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import HfArgumentParser, pipeline

from hf_seqreptile.data.image_sample import draw_sample
from hf_seqreptile.data.pictures import decode
from hf_seqreptile.problems.image_arguments import ImageArguments, ImageModelArguments
from hf_seqreptile.publishing.hub_repository import published_files
from tests import pictures, scripts, tiny
from tests.processes import together
from tests.scripts import SEQ_REPTILE, Place

ALL = ["--do_train", "--do_eval", "--do_predict"]
MTL = ["--method", "mtl", "--tasks_per_step", "1"]
TASKS = ["shapes", "colours", "digits"]
FILES = (scripts.FILES - {"tokenizer.json", "tokenizer_config.json"}) | {"preprocessor_config.json"}
SHORT = ["--learning_rate", "5e-3", "--max_steps", "6", "--max_train_samples", "24", "--max_eval_samples", "8",
         "--max_predict_samples", "6"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A ResNet, and the drawn sample."""
    folder = tmp_path_factory.mktemp("images")
    model = pictures.write_model(folder / "model")
    return Place(folder, "run_image_classification", model, ["--dataset_name", "sample"])


@pytest.fixture(scope="module")
def birds(place: Place) -> Place:
    """Two classes in folders, of which a part is held out."""
    train = pictures.write_pictures(place.folder / "birds", {"crow": 9, "gull": 7})
    return Place(place.folder, place.script, place.model, ["--train_dir", train])


@pytest.fixture(scope="module")
def printed(place: Place) -> str:
    return place.printed_by(*place.arguments("out", *SEQ_REPTILE, *ALL, *SHORT, "--save_steps", "4"))


def test_each_task_is_a_stock_folder(place: Place, printed: str) -> None:
    """What was predicted is what the pipeline says, picture by picture."""
    files = {path.name for path in place.path("out").iterdir()}
    assert {*TASKS, "encoder", "heads.json", "README.md", *(f"predict_results_{task}.txt" for task in TASKS)} <= files
    assert printed.startswith("shapes: 4 classes: circle, cross, square, triangle\n")
    assert "BatchNorm: each micro-batch is normalised by its own examples" in printed
    for task in TASKS:
        classify = pipeline("image-classification", model=str(place.path("out", task)))
        given = [decode(row) for row in draw_sample(task, "test")["image"][:6]]
        labels = [found[0]["label"] for found in classify(given, top_k=1)]
        assert labels == scripts.read_predictions(place.path("out", f"predict_results_{task}.txt"))


@pytest.mark.slow
def test_the_folders_serve_where_this_package_is_not_installed(place: Place, printed: str) -> None:
    code = """
from transformers import pipeline
from PIL import Image

print(len(pipeline("image-classification", model=sys.argv[1])(Image.new("RGB", (40, 40)))))
"""
    assert place.run_without_package(code, "out/colours").strip() == "4"


def test_the_card_has_lines_for_each_task(place: Place, printed: str) -> None:
    card = place.path("out", "README.md").read_text(encoding="utf-8")
    assert 'AutoImageProcessor.from_pretrained(name, subfolder="digits")' in card
    assert "type: image-classification" in card and "the small sample that hf_seqreptile brings" in card


def test_a_run_that_is_continued_sees_the_same_pictures(place: Place, printed: str) -> None:
    """Law 4, mid-trajectory, with workers: augmentation and BatchNorm's statistics go on bit for bit."""
    arguments = [*SEQ_REPTILE, *ALL, *SHORT, "--resume_from_checkpoint", str(place.path("out", "checkpoint-4"))]
    place.printed_by(*place.arguments("continued", *arguments, "--dataloader_num_workers", "2"))
    for name in ("encoder", *TASKS):
        whole, continued = (load_file(place.path(out, name, "model.safetensors")) for out in ("out", "continued"))
        tiny.assert_equal(whole, continued)
    assert any("running_mean" in name for name in whole)
    assert place.json("out", "eval_results.json").keys() == place.json("continued", "eval_results.json").keys()


def test_one_task_is_a_plain_model(birds: Place) -> None:
    """As Hugging Face's script has it: an unnamed folder, of which 15 % are held out."""
    birds.printed_by(*birds.arguments("plain", *MTL, "--do_train", "--do_eval", "--max_steps", "6"))
    files = {path.name for path in birds.path("plain").iterdir()}
    assert files == FILES - {"predict_results.json"} | {"checkpoint-6"}
    results = birds.json("plain", "all_results.json")
    assert results["train_samples"] == 13 and results["eval_samples"] == 3
    assert 0 <= results["eval_accuracy"] <= 1
    config = birds.json("plain", "config.json")
    assert config["label2id"] == {"crow": 0, "gull": 1}
    found = pipeline("image-classification", model=str(birds.path("plain")))(pictures.picture(0))
    assert {one["label"] for one in found} == {"crow", "gull"}


def test_what_is_published_serves(birds: Place, place: Place, printed: str, tmp_path: Path) -> None:
    """What the Hub is given of a folder is enough for a pipeline."""
    for folder, models in ((birds.path("plain"), [""]), (place.path("out"), TASKS)):
        published = tmp_path / folder.name
        for name in published_files(folder):
            (published / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, published / name)
        for model in models:
            assert pipeline("image-classification", model=str(published / model))(pictures.picture(0))


def test_the_finished_folder_is_evaluated_again(birds: Place, place: Place, printed: str) -> None:
    again = birds.printed_by(
        *place.arguments("out", "--do_eval", "--max_eval_samples", "8", model=str(place.path("out")))
    )
    assert again.count("| seq_reptile") == 2


def test_folders_and_datasets_train_together(birds: Place) -> None:
    train = birds.path("birds")
    data = ["--dataset_name", "colours=sample", "--train_dir", f"birds={train}", "--validation_dir", f"birds={train}"]
    both = Place(birds.folder, birds.script, birds.model, data)
    printed = both.printed_by(
        *both.arguments("both", *MTL, "--do_train", "--do_eval", *SHORT, "--max_eval_samples", "16")
    )
    assert "colours" in printed and "birds" in printed
    assert both.json("both", "all_results.json")["eval_samples"] == 32


def test_classes_become_tasks(place: Place) -> None:
    data = ["--dataset_name", "digits=sample", "--split_classes", "digits=2"]
    halves = Place(place.folder, place.script, place.model, data)
    halves.printed_by(*halves.arguments("halves", *MTL, "--do_train", "--do_eval", "--max_steps", "2"))
    labels = [halves.json("halves", f"digits-{part}", "config.json")["label2id"] for part in (1, 2)]
    assert [list(own) for own in labels] == [list("01234"), list("56789")]
    assert halves.json("halves", "all_results.json")["train_samples"] == 120


def broken(folder: Path) -> dict[str, str]:
    """Training folders that cannot be trained on, and a part of the message."""
    good = {"crow": 3, "gull": 3}
    for name in ("text", "cut", "bomb", "empty", "beside", "nested", "deep"):
        pictures.write_pictures(folder / name, good)
    (folder / "text" / "gull" / "notes.png").write_text("no picture")
    whole = (folder / "cut" / "gull" / "0.png").read_bytes()
    (folder / "cut" / "gull" / "0.png").write_bytes(whole[: len(whole) // 2])
    # A PNG's header alone says how large it is.
    header = bytearray(whole)
    header[16:24] = (50_000).to_bytes(4) * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4)
    (folder / "bomb" / "gull" / "0.png").write_bytes(header)
    (folder / "empty" / "owl").mkdir()
    (folder / "beside" / "list.csv").write_text("a,b")
    (folder / "nested" / "gull" / "young").mkdir()
    Image.new("I;16", (8, 8)).save(folder / "deep" / "gull" / "0.png")
    return {
        "text": "notes.png cannot be read: it is no picture of a format that Pillow knows",
        "cut": "gull/0.png cannot be read",
        "bomb": "gull/0.png cannot be read: Image size (2500000000 pixels) exceeds limit",
        "empty": "owl holds no pictures",
        "beside": "list.csv lies beside the classes' folders",
        "nested": "young is a folder within that of a class",
        "deep": "more than 8 bits a channel",
    }


def test_bad_pictures_are_named(
    place: Place, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name, message in broken(place.folder / "bad").items():
        bad = Place(place.folder, place.script, place.model, ["--train_dir", f"birds={place.folder / 'bad' / name}"])
        assert bad.main(*bad.arguments("nothing", *MTL, "--do_train", "--train_val_split", "0")) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error and not bad.path("nothing").exists()
        if "cannot be read" in message or "8 bits" in message:
            out = f"without-{name}"
            skipping = ["--do_train", "--skip_broken_images", "--max_steps", "1", "--train_val_split", "0"]
            assert bad.main(*bad.arguments(out, *MTL, *skipping)) == 0
            assert "train split: 1 of" in caplog.text and "are left out" in caplog.text
            caplog.clear()


HUGGING_FACE = {
    "dataset_name", "dataset_config_name", "train_dir", "validation_dir", "train_val_split", "max_train_samples",
    "max_eval_samples", "image_column_name", "label_column_name", "model_name_or_path", "model_type", "config_name",
    "cache_dir", "model_revision", "image_processor_name", "token", "trust_remote_code", "ignore_mismatched_sizes",
}  # fmt: skip
"""The arguments of Hugging Face's script of this name, beside those of its trainer."""


def test_every_argument_of_hugging_face_is_there() -> None:
    parser = HfArgumentParser([ImageModelArguments, ImageArguments])
    assert {action.dest for action in parser._actions} >= HUGGING_FACE
    plain = [
        "--dataset_name",
        "cifar",
        "--train_val_split",
        "0.2",
        "--max_train_samples",
        "5",
        "--image_column_name",
        "img",
    ]
    model, data = parser.parse_args_into_dataclasses(plain)
    assert model.model_name_or_path == "google/vit-base-patch16-224-in21k"
    assert data.origins["cifar"].image == "img" and data.train_val_split == 0.2


def test_pictures_are_a_problem_of_a_tasks_file(place: Place, birds: Place) -> None:
    """Folders are relative to the file."""
    tasks = {
        "colours": {"problem": "image", "head": "colours", "dataset_name": "sample", "languages": "colours"},
        "birds": {"problem": "image", "head": "birds", "train_dir": "birds", "max_train_samples": 8},
    }
    (place.folder / "tasks.yaml").write_text(json.dumps(tasks))
    both = Place(place.folder, "run_multitask", place.model, ["--tasks_file", str(place.folder / "tasks.yaml")])
    both.printed_by(*both.arguments("multitask", *MTL, "--do_train", "--do_eval", "--max_steps", "2"))
    assert both.json("multitask", "heads.json") == {"heads": ["colours", "birds"]}
    assert both.json("multitask", "all_results.json")["eval_samples"] == 40 + 3


REFUSED = {
    "--train_file x.csv": "Unknown argument --train_file",
    "--num_clusters 2": "Unknown argument --num_clusters",
    "--split_classes digits=1": "give a whole number of tasks from 2 on",
    "--split_classes letters=2": "--split_classes: unknown task 'letters'. Known: colours, digits, shapes.",
    "--classes digits=0,ten": "--classes: unknown class 'ten'",
    "--classes digits=0": "there is nothing to tell apart",
    "--train_val_split 1": "--train_val_split is 1.0; it must be in [0, 1).",
    "--image_column_name a b": "--image_column_name a b: give one for all tasks",
    "--train_dir digits=birds": "both give the task 'digits'",
    "--train_dir nowhere": "`nowhere` is no folder",
    "--validation_dir birds": "Task 'birds' has no training pictures",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_is_refused(
    place: Place, birds: Place, arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    assert place.main(*place.arguments("nothing", *MTL, *ALL, *arguments.split())) == 2
    error = capsys.readouterr().err
    assert REFUSED[arguments] in error and "Traceback" not in error


def test_other_classes_in_validation_are_refused(birds: Place, capsys: pytest.CaptureFixture[str]) -> None:
    other = pictures.write_pictures(birds.folder / "other", {"crow": 2, "owl": 2})
    assert birds.main(*birds.arguments("nothing", *MTL, *ALL[:2], "--validation_dir", other)) == 2
    error = capsys.readouterr().err
    assert "unknown label 'owl'" in error and "other/owl/0.png" in error


def test_a_timm_model_is_refused_by_name(birds: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = birds.folder / "timm"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "timm_wrapper", "architecture": "resnet18"}))
    assert birds.main(*birds.arguments("nothing", *MTL, "--do_train", model=str(folder))) == 2
    assert "is of transformers' wrapper of timm" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [kind for kind in pictures.CONFIGS if kind != "resnet"])
def test_kinds_of_models(kind: str, place: Place) -> None:
    model = pictures.write_model(place.folder / f"model-{kind}", kind)
    arguments = ["--languages", "shapes", "colours", "--max_steps", "2", "--max_train_samples", "8"]
    out = f"out-{kind}"
    place.printed_by(*place.arguments(out, *MTL, "--do_train", *arguments, model=model))
    found = pipeline("image-classification", model=str(place.path(out, "shapes")))(pictures.picture(0))
    assert len(found) == 4


def test_frozen_batch_norm_keeps_its_statistics(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Law 6 then holds: one micro-batch of 4, or two of 2, end at the same weights."""
    frozen = [*MTL, "--do_train", *SHORT, "--freeze_batch_norm", "--save_strategy", "no"]
    place.printed_by(*place.arguments("frozen", *frozen))
    assert "BatchNorm" not in capsys.readouterr().out
    small = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]
    place.printed_by(*place.arguments("small", *frozen, *small))
    one, other = (load_file(place.path(out, "encoder", "model.safetensors")) for out in ("frozen", "small"))
    assert tiny.largest_difference(one, other) < 1e-5
    before = load_file(f"{place.model}/model.safetensors")
    same = [torch.equal(one[name], before[name]) for name in before if "running_" in name]
    assert same and all(same)


def trained(arguments: list[str]) -> None:
    """One of several processes of the script."""
    scripts.end_as("run_image_classification", arguments)


@pytest.mark.slow
def test_two_processes_see_the_pictures_that_one_sees(place: Place) -> None:
    """Law 5, with random crops and BatchNorm frozen."""
    settings = [*SEQ_REPTILE, "--do_train", "--freeze_batch_norm", "--save_strategy", "no", "--max_steps", "8"]
    settings += ["--learning_rate", "1e-3", "--adam_epsilon", "1e-5"]
    place.printed_by(*place.arguments("one", *settings))
    together(2, trained, place.arguments("two", *settings, "--per_device_train_batch_size", "2"))
    for name in ("encoder", *TASKS):
        one, two = (load_file(place.path(out, name, "model.safetensors")) for out in ("one", "two"))
        assert tiny.largest_difference(one, two) < 1e-5
