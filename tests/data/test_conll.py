"""CoNLL files: every column order, what surrounds the tokens, and what is refused."""

import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_seqreptile.data import text
from hf_seqreptile.data.conll import read_conll
from hf_seqreptile.data.conll_rows import numbered_rows, row_blocks
from hf_seqreptile.data.tags import is_tag
from hf_seqreptile.errors import InputError

Sentence = tuple[list[str], list[str]]
UD = Path(__file__).parents[3] / "shared/data/ud"

ORDERS: dict[str, Callable[[int, str, str], list[str]]] = {
    "token tag": lambda index, token, tag: [token, tag],
    "token POS chunk tag": lambda index, token, tag: [token, "NN", "B-NP", tag],
    "token POS tag": lambda index, token, tag: [token, "NN", tag],
    "index token tag": lambda index, token, tag: [str(index), token, tag],
    "lang:token tag": lambda index, token, tag: [f"zh-min-nan:{token}", tag],
    "tag token": lambda index, token, tag: [tag, token],
}


def write_conll(path: Path, sentences: list[Sentence], order: str, separator: str = "\t", end: str = "\n") -> None:
    blocks = [
        "".join(
            separator.join(ORDERS[order](*row)) + end for row in zip(range(len(tokens)), tokens, tags, strict=True)
        )
        for tokens, tags in sentences
    ]
    path.write_bytes(end.join(blocks).encode())


def read(path: Path) -> list[Sentence]:
    return [(row["tokens"], row["ner_tags"]) for row in read_conll(path)]


# Any script, punctuation and symbol, the no-break space and U+2028 included, but for what separates columns or lines.
CHARACTERS = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=" ")
WORDS = st.text(CHARACTERS, min_size=1, max_size=8).filter(lambda word: "-DOCSTART-" not in word and not is_tag(word))
TYPES = st.sampled_from(["PER", "ORG", "LOC", "WORK-of-art"])


@st.composite
def sentences(draw: st.DrawFn) -> Sentence:
    tags: list[str] = []
    for entity_type, length in draw(st.lists(st.tuples(st.none() | TYPES, st.integers(1, 3)), min_size=1, max_size=5)):
        tags += ["O"] * length if entity_type is None else [f"B-{entity_type}"] + [f"I-{entity_type}"] * (length - 1)
    return draw(st.lists(WORDS, min_size=len(tags), max_size=len(tags))), tags


# Without one plain word, a column that happens to hold nothing but numbers would look like another order.
CORPORA = st.lists(sentences(), min_size=1, max_size=4).map(lambda corpus: [(["Über", "die"], ["O", "O"]), *corpus])


@pytest.mark.parametrize("order", ORDERS)
@settings(max_examples=40)
@given(corpus=CORPORA, separator=st.sampled_from(["\t", " ", "   "]), end=st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(order: str, corpus: list[Sentence], separator: str, end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.conll"
        write_conll(path, corpus, order, separator, end)
        assert read(path) == corpus


LINES = ["Anna\tO", "Anna O", "Anna  O", " Anna O", "a b\tB-PER", "#\tO", "# O", "1-2\t_\tO", "1\tx\tO", "de:x\tO"]
ENDS = st.sampled_from(["\n", "\n", "\n\n", "\r\n", "\r", " \n", "\t\n", "\n-DOCSTART- O\n\n"])


@settings(max_examples=300)
@given(lines=st.lists(st.tuples(st.sampled_from(LINES), ENDS), max_size=8), size=st.integers(1, 40))
def test_columns_do_not_depend_on_how_much_is_read_at_a_time(lines: list[tuple[str, str]], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_CHUNK", size)
        path = Path(folder) / "x.conll"
        path.write_bytes("".join(map("".join, lines)).encode())
        found = [
            (number, *of_line)
            for first, *block in row_blocks(path)
            for number, of_line in enumerate(zip(*block, strict=True), first)
        ]
        assert [one for one in found if one[2]] == [one for one in numbered_rows(path) if one[2]]


def test_a_sentence_ends_where_a_part_of_the_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_CHUNK", 1)
    write_conll(tmp_path / "x.conll", corpus := [(["a", "b"], ["O", "O"]), (["c"], ["B-PER"])] * 3, "token tag")
    assert read(tmp_path / "x.conll") == corpus


@settings(max_examples=100)
@given(content=st.binary(max_size=60) | st.text(string.ascii_letters + "-#:\t \n", max_size=60).map(str.encode))
def test_nothing_but_an_input_error_escapes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.conll"
        path.write_bytes(content)
        try:
            for tokens, tags in read(path):
                assert len(tokens) == len(tags) > 0 and all(tokens) and all(tags)
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffIn O\nRom B-LOC\n\nJa O\n",
        "In\tO\r\nRom\tB-LOC\r\n\r\nJa\tO",
        "\n\nIn  O  \nRom B-LOC\t\n\n \n\nJa O\n\n\n",
        "# text = In Rom\n# labels: O B-LOC O\nIn O\nRom B-LOC\n\n# Rom\nJa O\n",
        "-DOCSTART- -X- -X- O\n\nIn NN NP O\nRom NN NP B-LOC\n-DOCSTART- -X- -X- O\nJa NN NP O\n",
        "0\t-DOCSTART-\tO\n\n0\tIn\tO\n1\tRom\tB-LOC\n\n0\tJa\tO\n",
    ],
)
def test_what_surrounds_tokens_is_skipped(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.conll"
    path.write_bytes(content.encode())
    assert read(path) == [(["In", "Rom"], ["O", "B-LOC"]), (["Ja"], ["O"])]


def test_a_number_sign_may_be_a_token(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("#\tO\n#rom\tB-LOC\n\n# a comment\n1\tO\n", encoding="utf-8")
    assert read(path) == [(["#", "#rom"], ["O", "B-LOC"]), (["1"], ["O"])]


def test_tokens_keep_spaces_between_tabs_and_no_break_spaces(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("New York\tB-LOC\n5\u00a0km\tO\n\u00a0\tO\n", encoding="utf-8")
    assert read(path) == [(["New York", "5\u00a0km", "\u00a0"], ["B-LOC", "O", "O"])]


def test_a_prefix_that_not_every_token_has_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("de:In O\nRom B-LOC\n", encoding="utf-8")
    assert read(path) == [(["de:In", "Rom"], ["O", "B-LOC"])]


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        # Sentences end at empty lines, whatever ends a line.
        ("In O\rRom B-LOC\r\rJa O\r", [(["In", "Rom"], ["O", "B-LOC"]), (["Ja"], ["O"])]),
        ("In O\r\nRom B-LOC\n\nJa O\r\r", [(["In", "Rom"], ["O", "B-LOC"]), (["Ja"], ["O"])]),
        # Ranges of words and empty nodes are no words, in the layout that has them.
        ("1-2\tIm\t_\n1\tIn\tADP\n2\tdem\tDET\n2.1\tx\tX\n3\tO\tX\n", [(["In", "dem", "O"], ["ADP", "DET", "X"])]),
        ("1-2\tO\n2.1\tB-LOC\n", [(["1-2", "2.1"], ["O", "B-LOC"])]),
        # Tags as written, with prefixes or without.
        ("In O\nRom U-LOC\n", [(["In", "Rom"], ["O", "U-LOC"])]),
        ("In O\nRom LOC\n", [(["In", "Rom"], ["O", "LOC"])]),
        ("der DET\nHund NOUN\n", [(["der", "Hund"], ["DET", "NOUN"])]),
        ("EU NNP I-NP ORG\nis VB I-VP O\n", [(["EU", "is"], ["ORG", "O"])]),
        # A token, since it has a tag of others, stands within a sentence, or has a tab.
        ("In O\n#Bonn O\n# O\n", [(["In", "#Bonn", "#"], ["O", "O", "O"])]),
        ("die DET\n# SYM\n", [(["die", "#"], ["DET", "SYM"])]),
        ("#\tSYM\ndie\tDET\n", [(["#", "die"], ["SYM", "DET"])]),
        # A comment: before a sentence, or too long for a token.
        ("#one\n# two words\nIn O\n# three words here\nRom LOC\n", [(["In", "Rom"], ["O", "LOC"])]),
    ],
)  # fmt: skip
def test_lines(tmp_path: Path, content: str, sentences: list[Sentence]) -> None:
    path = tmp_path / "x.conll"
    path.write_bytes(content.encode())
    assert read(path) == sentences


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        ("In O\nRom\n", 2, "1 column (`Rom`), but line 1 has 2 columns"),
        ("In O\n\nRom X B-LOC\n", 3, "3 columns (`Rom X B-LOC`), but line 1 has 2 columns"),
        ("In B-LOC\nRom LOC\n", 2, "`LOC` is not a tag (`Rom LOC`)"),
        ("In O\nRom B-\n", 2, "`B-` is not a tag"),
        ("In O\nRom b-loc\n", 2, "`b-loc` is not a tag (`Rom b-loc`)"),
        ("In O\nRom B_LOC\n", 2, "`B_LOC` is not a tag (`Rom B_LOC`)"),
        ("In O\nRom B-LOC\u00a0\n", 2, "`B-LOC\\xa0` is not a tag"),
        ("In 0\nRom 1\n", 1, "`0` is not a tag (`In 0`). It is a number without a name."),
        ("In\tO\n\tO\n", 2, "an empty token"),
        ("In O\n O\n", 2, "an empty token (`O`)"),
        ("In\tO\n#Bonn\tX-LOC\nin\tB-LOC\n", 2, "`X-LOC` is not a tag (`#Bonn X-LOC`)"),
        ("#Bonn X-LOC\nIn O\n", 1, "`#Bonn X-LOC` is a comment, or a token with the tag `X-LOC`, which no other"),
        ("In O\n#Bonn\n", 2, "1 column (`#Bonn`), but line 1 has 2 columns"),
        ("O In\nLOC Rom\nO Ja\n", 1, "3 different tags of 2 different tokens. Which column is the tag's is unclear"),
        ("EU NNP eu\nis VB be\n", 1, "3 columns, the last without a tag such as `O` or `B-PER`."),
        ("In\nRom\n", 1, "one column only (`In`)"),
        (b"In O\nR\xf6m B-LOC\n", 2, "byte 0xf6 at offset 6 is not UTF-8"),
        (b"\xef\xbb\xbfR\xf6m B-LOC\n", 1, "byte 0xf6 at offset 4 is not UTF-8"),
        ("In O\nRom B-LOC\n".encode("utf-16"), 1, "byte 0xff at offset 0 is not UTF-8"),
        (b"In O\nRo\0m B-LOC\n", 2, "a NUL byte"),
        ("0 In O O\n1 Rom B-LOC O\n", 1, "an index and 3 more columns"),
    ],
)
def test_mistakes_are_named(
    write: Callable[..., str], refusal: Callable[..., str], content: str | bytes, line: int, found: str
) -> None:
    path = write("de.conll", content)
    message = refusal(train_file=[path])
    assert message.startswith("Task 'de', train data: ")
    assert f"{path}, line {line}: " in message
    assert found in message
    assert message.endswith(".")


@pytest.mark.parametrize("content", ["\n\n", "# nothing\n", "-DOCSTART- O\n"])
def test_a_file_without_sentences_is_refused(
    write: Callable[..., str], refusal: Callable[..., str], content: str
) -> None:
    path = write("de.conll", content)
    assert refusal(train_file=[path]).startswith(f"Task 'de', train data: {path} holds no sentences.")


@pytest.mark.skipif(not UD.is_dir(), reason=f"{UD} is not there: it is no part of the project")
def test_real_universal_dependencies_in_three_columns(tmp_path: Path) -> None:
    """Ranges and empty nodes are skipped, and so are comments."""
    rows = [line.split("\t") for line in (UD / "en/dev.conllu").read_text(encoding="utf-8").splitlines()]
    path = tmp_path / "en.conllu"
    path.write_text("".join("\t".join(r if len(r) < 4 else [r[0], r[1], r[3]]) + "\n" for r in rows), encoding="utf-8")
    read_words = [word for words, _ in read(path) for word in words]
    assert read_words == [row[1] for row in rows if row[0].isdigit()]
    assert {tag for _, tags in read(path) for tag in tags} == {row[3] for row in rows if row[0].isdigit()}


def test_parts_of_speech_are_the_fourth_column_of_conll_u(tmp_path: Path) -> None:
    """Ranges and empty nodes are no words; without the scheme `none`, which column is meant stays unclear."""
    rows = [
        "1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\tzu\tzu\tADP\tAPPR\t_\t3\tcase\t_\t_",
        "2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_",
        "3\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_",
        "3.1\tist\tsein\tAUX\t_\t_\t_\t_\t_\t_",
    ]
    path = tmp_path / "de.conllu"
    path.write_text("# text = zum Haus\n" + "\n".join(rows) + "\n\n", encoding="utf-8")
    assert list(read_conll(path, "none")) == [{"tokens": ["zu", "dem", "Haus"], "ner_tags": ["ADP", "DET", "NOUN"]}]
    with pytest.raises(InputError, match=r"name it with --label_column_name .* upos, xpos, feats"):
        list(read_conll(path))


def test_a_test_file_may_hold_tokens_alone(
    load: Callable[..., Any], write: Callable[..., str], refusal: Callable[..., str]
) -> None:
    path = write("de.conll", "# id = 1\nIn\nRom\n\n#\n\n# id = 2\nUlm\n")
    tokens = load(["test"], test_file=path)["test"]["de"]
    assert tokens.to_dict() == {"tokens": [["In", "Rom"], ["#"], ["Ulm"]]}
    assert "one column only (`In`). Give a token and its tag" in refusal(train_file=path)
    path = write("en.conll", "In\nRom B-LOC\n")
    assert f"{path}, line 2: 2 columns (`Rom B-LOC`), but the first line has one" in refusal(
        splits=["test"], test_file=path
    )


CONLL_U = """\
# text = zum Haus
1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_
1\tzu\tzu\tADP\tAPPR\t_\t3\tcase\t_\tname=O
2\tdem\tder\tDET\tART\tCase=Dat|Gender=Neut\t3\tdet\t_\tname=B-LOC
3\tHaus\tHaus\tNOUN\tNN\tGender=Neut\t0\troot\t_\tSpaceAfter=No|name=I-LOC
3.1\tist\tsein\tAUX\t_\t_\t_\t_\t_\t_
"""
GERMEVAL = "#\thttp://a.de/1\t[2014-01-01]\n1\tIn\tO\tB-ORG\n2\tRom\tB-LOC\tI-ORG\n"


def tags_of(path: Path, name: str, scheme: str | None = None) -> list[str]:
    return [tag for sentence in read_conll(path, scheme, name) for tag in sentence[name]]


@pytest.mark.parametrize(
    ("name", "content", "tags"),
    [
        ("xpos", CONLL_U, ["APPR", "ART", "NN"]),
        ("UPOS", CONLL_U, ["ADP", "DET", "NOUN"]),
        ("8", CONLL_U, ["case", "det", "root"]),
        ("name", CONLL_U, ["O", "B-LOC", "I-LOC"]),
        ("ner_tags", GERMEVAL, ["O", "B-LOC"]),
        ("nested_ner_tags", GERMEVAL, ["B-ORG", "I-ORG"]),
        ("4", GERMEVAL, ["B-ORG", "I-ORG"]),
        ("3", "# sent_id = 1\n1\tIn\tO\t-\tmax\n2\tRom\tB-LOC\t-\teva\n", ["O", "B-LOC"]),
        ("pos_tags", "-DOCSTART- -X- O O\n\n1860 NN B-NP O\nRom NNP I-NP B-LOC\n", ["NN", "NNP"]),
        ("2", "In APPR O\nRom NE B-LOC\n", ["APPR", "NE"]),
        ("1", "O In\nB-LOC Rom\n", ["O", "B-LOC"]),
        ("ner_tags", "O In\nB-LOC Rom\n", ["O", "B-LOC"]),
        ("ner", "# global.columns = ID FORM NER HEAD\n1\tIn\tO\t0\n2\tRom\tB-LOC\t1\n", ["O", "B-LOC"]),
    ],
)
def test_the_column_of_tags_may_be_named(tmp_path: Path, name: str, content: str, tags: list[str]) -> None:
    """As CoNLL-U, GermEval and CoNLL-2003 do, as the file does, by its number, or as an attribute."""
    path = tmp_path / "de.conllu"
    path.write_text(content, encoding="utf-8")
    assert tags_of(path, name) == tags


def test_a_word_without_the_attribute_is_outside_of_entities(tmp_path: Path) -> None:
    path = tmp_path / "de.conllu"
    path.write_text(CONLL_U, encoding="utf-8")
    assert tags_of(path, "Gender", "io") == ["O", "Neut", "Neut"]
    assert tags_of(path, "Gender", "none") == ["_", "Neut", "Neut"]
    with pytest.raises(InputError, match="line 3: `_` is not a tag"):
        tags_of(path, "Gender")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ner", CONLL_U, r"--label_column_name ner is not among its 10 columns. .* counted from 1, as lemma, upos, .*"
                         r", or as an attribute in feats or misc"),
        ("form", CONLL_U, "form is not among its 10 columns"),
        ("11", CONLL_U, "11 is not among its 10 columns"),
        ("0", "In O\n", "0 is not among its 2 columns. Name the one of tags by its number, counted from 1."),
        ("tags", "In O\n", "tags is not among its 2 columns"),
        ("nested", GERMEVAL, "nested is not among its 4 columns. .* as ner_tags, nested_ner_tags"),
        ("head", CONLL_U, "line 3: `3` is not a tag .*It is a number without a name"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / "de.conllu"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        tags_of(path, name)


@pytest.mark.skipif(not UD.is_dir(), reason=f"{UD} is not there: it is no part of the project")
@pytest.mark.parametrize(("name", "place"), [("upos", 3), ("xpos", 4), ("deprel", 7)])
def test_real_universal_dependencies_by_name(tmp_path: Path, name: str, place: int) -> None:
    lines = (UD / "de/test.conllu").read_text(encoding="utf-8").splitlines()
    words = [line.split("\t") for line in lines if line[:1].isdigit() and line.split("\t")[0].isdigit()]
    assert tags_of(UD / "de/test.conllu", name) == [word[place] for word in words]
