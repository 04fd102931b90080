"""The Python lines that use a finished model; they need transformers (and, for adapters, peft) alone."""

import json
from collections.abc import Sequence
from typing import Any

from .example_texts import CHOICES, ENGLISH, ONE_TEXT, PAIRS, QUESTIONS, WORDS_APART, example_in

AUTO_PEFT_CLASSES = {
    "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
}
"""What loads adapters of a task type. Those without one name the model's class, which `AutoPeftModel` takes."""

AUTO_CLASSES = {
    "token-classification": "AutoModelForTokenClassification",
    "text-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "image-classification": "AutoModelForImageClassification",
}
ON_THE_HUB = ", or the model's id on the Hub"
PROCESSORS = {"image-classification": ("image_processor", "AutoImageProcessor")}
"""What a pipeline is given beside the model, and its class, where that is no tokenizer."""
WITHOUT_PIPELINE = ("question-answering", "multiple-choice")
"""Problems that transformers has no pipeline for, so that their lines always load the model."""

TOKEN_CLASSIFICATION = """\
{imports}from transformers import pipeline

name = {name}  # this folder, or the model's id on the Hub
{load}tag = pipeline("token-classification", model={model}, aggregation_strategy="first")
text = {texts[0]}  # words and punctuation apart, as in the training data
print([(text[e["start"] : e["end"]].strip(), e["entity_group"]) for e in tag(text)])"""

EACH_WORD = """\
{imports}from transformers import pipeline

name = {name}  # this folder, or the model's id on the Hub
{load}tag = pipeline("token-classification", model={model})
text = {texts[0]}  # words and punctuation apart, as in the training data
tags = {{}}
for token in tag(text):  # a word's tag is that of its first token
    tags.setdefault(text[: token["end"]].count(" "), token["entity"])
print([(word, tags.get(i)) for i, word in enumerate(text.split())])"""

TEXT_CLASSIFICATION = """\
{imports}from transformers import pipeline

name = {name}  # this folder, or the model's id on the Hub
{load}classify = pipeline("text-classification", model={model})
print(classify({{"text": {texts[0]}, "text_pair": {texts[1]}}}))"""

SINGLE_TEXT = TEXT_CLASSIFICATION.replace('{{"text": {texts[0]}, "text_pair": {texts[1]}}}', "{texts[0]}")

QUESTION_ANSWERING = """\
import torch
{imports}from transformers import {names}

name = {name}  # this folder, or the model's id on the Hub
tokenizer, model = AutoTokenizer.from_pretrained({place}), {load}
question, context = {texts[0]}, {texts[1]}
inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
offsets, of_context = inputs.pop("offset_mapping")[0], torch.tensor([i == 1 for i in inputs.sequence_ids()])
with torch.no_grad():
    output = model(**inputs)
scores = output.start_logits[0][:, None] + output.end_logits[0]  # of every first and last token
allowed = (of_context[:, None] & of_context).triu().tril(29)  # in the context, 30 tokens at most
{no_answer}start, end = divmod(scores.masked_fill(~allowed, -torch.inf).argmax().item(), len(scores))
print(context[offsets[start][0] : offsets[end][1]].strip())"""

NO_ANSWER = """\
cls = inputs.input_ids[0].tolist().index(tokenizer.cls_token_id) if tokenizer.cls_token else 0
allowed[cls, cls] = True  # it stands for "no answer", which prints an empty line
scores[cls, cls] -= {threshold}  # --null_score_diff_threshold
"""

MULTIPLE_CHOICE = """\
import torch
{imports}from transformers import {names}

name = {name}  # this folder, or the model's id on the Hub
tokenizer, model = AutoTokenizer.from_pretrained({place}), {load}
context, question = {texts[0]}, {texts[1]}
choices = [{texts[2]}, {texts[3]}]
pairs = [context] * len(choices), [f"{{question}} {{choice}}" for choice in choices]
inputs = tokenizer(*pairs, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**{{key: values[None] for key, values in inputs.items()}}).logits[0]
print(choices[logits.argmax().item()])"""

IMAGE_CLASSIFICATION = """\
from PIL import Image
{imports}from transformers import pipeline

name = {name}  # this folder, or the model's id on the Hub
{load}classify = pipeline("image-classification", model={model})
print(classify(Image.new("RGB", (64, 64), "green")))  # or the path or address of a picture"""

LINES = {
    "token-classification": TOKEN_CLASSIFICATION,
    "text-classification": TEXT_CLASSIFICATION,
    "question-answering": QUESTION_ANSWERING,
    "multiple-choice": MULTIPLE_CHOICE,
    "image-classification": IMAGE_CLASSIFICATION,
}
EXAMPLES = {
    "token-classification": WORDS_APART,
    "text-classification": PAIRS,
    "question-answering": QUESTIONS,
    "multiple-choice": CHOICES,
    # Its picture is made by its lines.
    "image-classification": {ENGLISH: ()},
}


def usage(
    pipeline_tag: str,
    name: str,
    model: Any,
    no_answer_threshold: float | None = None,
    head: str | None = None,
    texts: int = 2,
    auto_peft_class: str | None = None,
    languages: Sequence[str] = (),
) -> str:
    """Lines of Python that load and use a model.

    Args:
        pipeline_tag: the problem as the Hub names it.
        name: of the model's folder.
        model: a model of transformers, or one of PEFT's.
        no_answer_threshold: how far the score of "no answer" must be above that of the best answer; `None` where
            every question has one.
        texts: of an example that is classified, one or a pair.
        head: the subfolder of `name` that the model lies in. Default: none.
        languages: of the model, in one of which the example is where there is one; else in English.
        auto_peft_class: what loads PEFT's adapters, where the folder has these in place of a whole model.
    """
    has_pipeline, lies_apart = pipeline_tag not in WITHOUT_PIPELINE, auto_peft_class and head is not None
    if lies_apart:
        # PEFT would look for the base model in the subfolder too.
        name, head = f"{name}/{head}", None
    keyword, names = PROCESSORS.get(pipeline_tag, ("tokenizer", "AutoTokenizer"))
    imports, load, argument = "", "", "name"
    place = "name" if head is None else f"name, subfolder={json.dumps(head, ensure_ascii=False)}"
    if auto_peft_class:
        auto_class = auto_peft_class
        imports = f"from peft import {auto_class}\n"
        # An adapter's folder has no configuration, and without the labels its head would not fit the base model.
        labels = f", id2label={model.config.id2label!r}" if has_pipeline else ""
        load = f"{auto_class}.from_pretrained(name{labels})"
    elif not has_pipeline or head is not None:
        auto_class = AUTO_CLASSES[pipeline_tag]
        load = f"{auto_class}.from_pretrained({place})"
        if has_pipeline:
            imports = f"from transformers import {auto_class}, {names}\n"
        else:
            names = f"{auto_class}, {names}"
    if has_pipeline and load:
        load, argument = f"model = {load}\n", f"model, {keyword}=name"
    if has_pipeline and head is not None:
        load += f"{keyword} = {names}.from_pretrained({place})\n"
        argument = f"model, {keyword}={keyword}"
    no_answer = "" if no_answer_threshold is None else NO_ANSWER.format(threshold=no_answer_threshold)
    quoted = json.dumps(name, ensure_ascii=False)
    # Without a label for what is outside of entities, as of parts of speech, neighbours of one label are no unit.
    known = {*(model.config.label2id or ())}
    are_of_words = pipeline_tag == "token-classification" and known and not known & {"O", "LABEL_0"}
    lines, examples = LINES[pipeline_tag], EXAMPLES[pipeline_tag]
    if are_of_words:
        lines = EACH_WORD
    elif pipeline_tag == "text-classification" and texts == 1:
        lines, examples = SINGLE_TEXT, ONE_TEXT
    if lies_apart:
        lines = lines.replace(ON_THE_HUB, "")
    return lines.format(
        imports=imports,
        names=names,
        name=quoted,
        load=load,
        model=argument,
        no_answer=no_answer,
        place=place,
        texts=[json.dumps(text, ensure_ascii=False) for text in example_in(examples, languages)],
    )
