"""What the tests of hostile files share with those of sound ones."""

from tests.data.conftest import quiet

__all__ = ["quiet"]
