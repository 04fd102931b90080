"""What counts as white space in a context."""

import sys

from hf_seqreptile.problems.context_windows import _WHITE_SPACE


def test_white_space_is_all_that_python_takes_for_it() -> None:
    assert [code for code in range(sys.maxunicode + 1) if chr(code).isspace()] == _WHITE_SPACE
