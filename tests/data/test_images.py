"""Where pictures come from: folders, datasets, the drawn sample; what is held out and which classes are whose."""

from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

from hf_seqreptile import InputError
from hf_seqreptile.data.image_folder import read_image_folder
from hf_seqreptile.data.image_sample import CLASSES, EXAMPLES, draw_sample
from hf_seqreptile.data.load import load_tasks
from hf_seqreptile.data.pictures import decode
from hf_seqreptile.problems.image_arguments import ImageArguments
from tests import pictures


def load(*splits: str, **arguments):
    return load_tasks(ImageArguments(**arguments), list(splits))


def names(dataset: Dataset) -> list[str]:
    return [dataset.features["label"].names[label] for label in dataset["label"]]


def paths(dataset: Dataset) -> set[str]:
    return {picture["path"] for picture in dataset["image"]}


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """A local dataset with columns of other names and two kinds of classes, and 12 pictures a split."""
    features = Features(
        {
            "img": Image(),
            "fine": ClassLabel(names=["ant", "bee", "cat", "dog"]),
            "coarse": ClassLabel(names=["i", "m"]),
        }
    )
    rows = {
        "img": [pictures.picture(i % 4, i) for i in range(12)],
        "fine": [i % 4 for i in range(12)],
        "coarse": [i % 4 // 2 for i in range(12)],
    }
    made = Dataset.from_dict(rows, features=features)
    DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "disk"))
    folder = tmp_path / "insects"
    folder.mkdir()
    for split in ("train", "test"):
        made.to_parquet(str(folder / f"{split}.parquet"))
    return str(folder)


def test_held_out_pictures_are_no_training_pictures(tmp_path: Path) -> None:
    """15 %, the same each time, and none twice."""
    folder = pictures.write_pictures(tmp_path / "birds", {"crow": 21, "gull": 19})
    tasks = load("train", "validation", train_dir=[folder])
    train, held = paths(tasks["train"]["all"]), paths(tasks["validation"]["all"])
    assert (len(train), len(held)) == (34, 6) and not train & held
    again = load("validation", train_dir=f"birds={folder}")
    assert paths(again["validation"]["birds"]) == held
    # In no order of classes, so that the first ones are of all.
    assert set(names(load("train", train_dir=[folder], max_train_samples=8)["train"]["all"])) == {"crow", "gull"}


def test_own_validation_pictures_leave_training_ones_whole(tmp_path: Path) -> None:
    train = pictures.write_pictures(tmp_path / "train", {"crow": 6, "gull": 6})
    held = pictures.write_pictures(tmp_path / "held", {"crow": 2, "gull": 2}, "jpeg")
    tasks = load("train", "validation", train_dir=[train], validation_dir=[held])
    assert len(tasks["train"]["all"]) == 12 and len(tasks["validation"]["all"]) == 4


def test_no_held_out_pictures_means_the_test_split(dataset: str) -> None:
    columns = {"image_column_name": "img", "label_column_name": "fine"}
    tasks = load("train", "validation", dataset_name=dataset, train_val_split=0, **columns)
    assert [len(tasks[split]["insects"]) for split in ("train", "validation")] == [12, 12]
    held = load("train", "validation", dataset_name=dataset, **columns)
    assert [len(held[split]["insects"]) for split in ("train", "validation")] == [10, 2]


def test_columns_are_named_or_the_only_ones(dataset: str) -> None:
    with pytest.raises(InputError, match="Which column holds the classes cannot be told: there are fine, coarse"):
        load("train", dataset_name=dataset)
    tasks = load(
        "train", dataset_name=[f"a={dataset}", f"b={dataset}"], label_column_name={"a": "fine", "b": "coarse"}
    )
    assert {task: own.features["label"].names for task, own in tasks["train"].items()} == {
        "a": ["ant", "bee", "cat", "dog"], "b": ["i", "m"],
    }  # fmt: skip
    assert all(own.column_names == ["image", "label", "row"] for own in tasks["train"].values())
    with pytest.raises(
        InputError, match="The columns of pictures are img, and --image_column_name fine is none of them"
    ):
        load("train", dataset_name=dataset, image_column_name="fine")


def test_classes_are_dealt_to_tasks(dataset: str) -> None:
    settings = {"dataset_name": [f"all={dataset}"], "label_column_name": "fine", "train_val_split": 0}
    tasks = load("train", "test", **settings, split_classes=["all=2"])
    for split in ("train", "test"):
        assert {task: set(names(own)) for task, own in tasks[split].items()} == {
            "all-1": {"ant", "bee"}, "all-2": {"cat", "dog"},
        }  # fmt: skip
        assert sum(map(len, tasks[split].values())) == 12
    kept = load("train", **settings, classes=["all=dog,ant"])["train"]["all"]
    assert kept.features["label"].names == ["dog", "ant"] and sorted(names(kept)) == ["ant"] * 3 + ["dog"] * 3
    for picture, name in zip(kept["image"], names(kept), strict=True):
        # Its colour is that of its class.
        strongest = int(np.asarray(decode(picture)).mean((0, 1)).argmax())
        assert strongest == {"dog": 0, "ant": 0}[name]


def test_a_folders_list_is_read_anew_when_a_file_changes(tmp_path: Path) -> None:
    from hf_seqreptile.data.build import Cache

    folder = tmp_path / "birds"
    pictures.write_pictures(folder, {"crow": 2, "gull": 2})
    (folder / "crow" / ".DS_Store").write_text("")
    cache = Cache(str(tmp_path / "cache"))
    one = read_image_folder(folder, "train", cache, "--train_dir")
    assert len(one) == 4 and one.cache_files
    (folder / "crow" / "0.png").rename(folder / "gull" / "9.png")
    assert names(read_image_folder(folder, "train", cache, "--train_dir")) == ["crow", "gull", "gull", "gull"]


def test_a_test_folder_may_lack_classes(tmp_path: Path) -> None:
    folder = tmp_path / "unknown"
    folder.mkdir()
    pictures.picture(0).save(folder / "1.png")
    assert load("test", test_dir=[str(folder)])["test"]["all"].column_names == ["image", "row"]


@pytest.mark.parametrize("task", CLASSES)
def test_the_sample_is_drawn_the_same_each_time(task: str) -> None:
    for split, number in EXAMPLES.items():
        drawn = draw_sample(task, split)
        assert len(drawn) == number and set(names(drawn)) == set(CLASSES[task])
        assert drawn["image"] == draw_sample(task, split)["image"]
        assert len({picture["bytes"] for picture in drawn["image"]}) == number
    assert not {*map(str, draw_sample(task, "train")["image"])} & {*map(str, draw_sample(task, "test")["image"])}
