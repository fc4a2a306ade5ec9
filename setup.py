"""The README as a package index shows it; everything else is in pyproject.toml.

There its relative links would lead nowhere. With a ``Repository`` among the project's URLs they
lead into it; until there is one, links become their text, and pictures are left out together with
the paragraphs below them, which describe them.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
_PICTURE = re.compile(r"^!\[[^\]]*\]\((?!\w+:)[^)]*\)\n+(?:.+\n)+\n?", re.MULTILINE)


def description(readme: str, repository: str | None) -> str:
    """Return the README with relative links made absolute, or taken out."""

    if repository is None:
        return _RELATIVE.sub(r"\2", _PICTURE.sub("", readme))

    def replaced(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{text}]({repository.rstrip('/')}/{kind}/main/{target})"

    return _RELATIVE.sub(replaced, readme)


if __name__ == "__main__":
    from setuptools import setup

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    setup(
        script_name="setup.py",  # it lies in the package's folder, and is not part of it
        long_description=description(
            (ROOT / "README.md").read_text(), project.get("urls", {}).get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
