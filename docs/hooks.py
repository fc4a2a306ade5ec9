"""Hooks of mkdocs: bring in pages that live elsewhere in the repository, and mend their links.

Every page links to files as they lie in the repository, so that its links also hold where somebody
reads it there. On the site such a link leads to the page that the file became.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
GUESTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/plugin/README.md": "plugin.md",
    "data/digits/README.md": "results/digits_labels.md",
    "predictors/pretrained/weights/card.md": "results/model_card.md",
    **{
        path.relative_to(ROOT).as_posix(): f"results/{path.name}"
        for path in sorted((ROOT / "experiments" / "results").glob("*.*"))
    },
}
"""Files of the repository that become pages: path there -> path on the site."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_SEVERAL = re.compile(r"^ {4}(\w+(?:, \w+)+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
_CODE_NAME = re.compile(r"(?<!`)``([\w.]+)``(?!`)")
_log = logging.getLogger("mkdocs.plugins.archrank")


class Docstrings(griffe.Extension):
    """Reads docstrings as the house writes them.

    A section ``Example:`` is one of examples, which griffe knows in the plural alone. An entry of
    several names, ``a, b: text``, is one entry for each of them. A public class named as code is a
    link to its reference.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = _EXAMPLE.sub("Examples:", obj.docstring.value)
            text = _SEVERAL.sub(_each, text)
            obj.docstring.value = _CODE_NAME.sub(_linked, text)


def _public() -> dict[str, str]:
    """Return the public classes and functions: how docstrings name them -> their reference."""
    found = {}
    for init in [*ROOT.glob("*/__init__.py"), ROOT / "__init__.py"]:
        home = "archrank" if init.parent == ROOT else f"archrank.{init.parent.name}"
        names = re.search(r"^__all__ = (\[.*?\])", init.read_text(), re.MULTILINE | re.DOTALL)
        for name in ast.literal_eval(names[1]) if names else ():
            found[f"{home}.{name}"] = f"{home}.{name}"
            if name[0].isupper():
                found[name] = f"{home}.{name}"
    rooms = {f"archrank.{init.parent.name}" for init in ROOT.glob("*/__init__.py")}
    return {name: where for name, where in found.items() if where not in rooms}


def _linked(code: re.Match[str]) -> str:
    where = PUBLIC.get(code[1])
    return f"[`{code[1]}`][{where}]" if where else code[0]


def _each(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}: {entry[2]}" for name in entry[1].split(", "))


PUBLIC = _public()


def on_startup(command: str, dirty: bool) -> None:
    """Lay out the package alone, so that mkdocstrings does not walk through the whole folder."""
    package = ROOT / "build" / "package" / "archrank"
    package.mkdir(parents=True, exist_ok=True)
    for link in package.iterdir():
        link.unlink()
    rooms = [path.parent for path in ROOT.glob("*/__init__.py")]
    for path in [*ROOT.glob("*.py"), *rooms]:
        (package / path.name).symlink_to(path)


def on_config(config: Any) -> None:
    """List the pages of results, which are many, and of the gallery in the navigation."""
    pages = [
        page for page in GUESTS.values() if page.startswith("results/") and page.endswith("md")
    ]
    for part in config.nav:
        if isinstance(part, dict) and "Results" in part:
            part["Results"] = ["reading_results.md", *pages]
        if isinstance(part, dict) and "Gallery" in part:
            part["Gallery"] = [f"gallery/{path.stem}.md" for path in _gallery().SCRIPTS]


def on_files(files: Files, config: Any) -> Files:
    """Add the guests, and the gallery, whose scripts are run."""
    for source, target in GUESTS.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    for script in _gallery().SCRIPTS:
        page = _gallery().run(script)
        files.append(File.generated(config, f"gallery/{page.name}.md", content=page.text))
        for name, picture in page.pictures.items():
            files.append(File.generated(config, f"gallery/{name}", content=picture))
    return files


@cache
def _gallery() -> Any:
    """Return the module beside this one; a hook's folder is on no path."""
    spec = spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Let links to files of the repository lead to the pages that they became."""
    here = page.file.src_uri
    parts = _CODE.split(markdown)
    for i in range(0, len(parts), 2):  # between code
        parts[i] = _LINK.sub(lambda link: _on_site(link, here), parts[i])
    return "".join(parts)


def _on_site(link: re.Match[str], here: str) -> str:
    """Return the target of a link of the page ``here`` as a path on the site."""
    home = next((source for source, page in GUESTS.items() if page == here), f"docs/{here}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(home), link[1]))
    page = target.removeprefix("docs/") if target.startswith("docs/") else GUESTS.get(target)
    if page is None:
        _log.warning("%s links to %s, which is not a page of the site", home, target)
        return link[0]
    return posixpath.relpath(page, posixpath.dirname(here) or ".") + (link[2] or "")
