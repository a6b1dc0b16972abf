"""Whether a file holds what its name promises."""

import hashlib
from collections.abc import Sequence

from jaxvae.data.sources import Original


def check_content(content: bytes, expected: Original, name: str, known: Sequence[Original]) -> None:
    """Raise unless the content is the expected one; say what it is instead where that is known.

    Args:
        content: the values, as ``Original.content_sha256`` is of.
        expected: what the file should be.
        name: the file, for messages.
        known: what it may have been taken for.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest == expected.content_sha256:
        return
    for other in known:
        if digest == other.content_sha256:
            raise ValueError(
                f"{name}: expected {expected.title}, got {other.title}; it was renamed or put into "
                "the wrong folder"
            )
    raise ValueError(
        f"{name}: expected {expected.title}, but the values are not theirs: corrupted or modified; "
        "get the file again, or load data of your own from FILE.npz"
    )
