"""CoNLL files."""

from pathlib import Path

from hf_seqreptile.data.conll import read_conll
from tests.fuzz.reader import Reader


def read(data: bytes, folder: Path) -> None:
    """Each sentence has as many tags as tokens, and no token is empty."""
    path = folder / "de.conll"
    path.write_bytes(data)
    for sentence in read_conll(path):
        assert len(sentence["tokens"]) == len(sentence["ner_tags"]) > 0 and all(sentence["tokens"])


READER = Reader(
    read,
    seeds=(
        b"Anna\tB-PER\nlacht\tO\n\nBerlin\tB-LOC\n",
        b"-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n",
        b"# id = 1\n1\tAnna\tB-PER\n2-3\tlacht\tO\n",
        b"de:Anna S-PER\nde:lacht O\n",
        b"B-PER Anna\nO lacht\n",
        b"\xef\xbb\xbfAnna B-PER\r\n\r\nlacht O\r\n",
    ),
    words=(
        b"\t",
        b" ",
        b"\n\n",
        b"\r\n",
        b"#",
        b"-DOCSTART-",
        b"O",
        b"B-PER",
        b"I-",
        b"de:",
        b"1",
        b"\xc2\xa0",
        b"\0",
    ),
)
