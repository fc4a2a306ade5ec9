"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

.venv/bin/python .ci/lowest.py EXTRA... > lowest.txt
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def lowest(extras: list[str]) -> dict[str, str]:
    """Return package -> the version after >=, of the dependencies and of some extras.

    Raises:
        ValueError: a requirement does not say its lowest version.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    found = {}
    for one in map(Requirement, texts):
        if one.marker is not None and not one.marker.evaluate():
            continue
        least = [said.version for said in one.specifier if said.operator == ">="]
        if not least:
            raise ValueError(f"pyproject.toml: {one} does not say its lowest version, as in >=1")
        found[one.name] = least[0]
    return found


if __name__ == "__main__":
    for name, version in lowest(sys.argv[1:]).items():
        print(f"{name}=={version}")
