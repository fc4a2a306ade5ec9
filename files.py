"""Files that appear whole or not at all: a leaf module that every room may import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` when nothing went wrong.

    Raises:
        FileNotFoundError: there is no folder to write to.
        OSError: the file cannot be written; what stood there before stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(f"{folder}/table.csv") as partial:
        ...         _ = partial.write_text("name,score")
        ...     Path(f"{folder}/table.csv").read_text()
        'name,score'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path: got {str(path)!r}, expected a file in a folder that exists; "
            f"create {str(path.parent)!r} first"
        )
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
