"""Scripts of the gallery become pages with what they gave."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    module = module_from_spec(spec)
    sys.modules["gallery"] = module
    spec.loader.exec_module(module)
    return module


def test_every_script_is_a_page(gallery: ModuleType) -> None:
    assert sorted(gallery.SCRIPTS) == sorted((ROOT / "docs" / "gallery").glob("*.py"))
    for script in gallery.SCRIPTS:
        kinds = [kind for kind, _ in gallery.cells(script.read_text())]
        assert kinds[0] == "markdown"
        assert kinds.count("code") >= 3


def test_a_page_has_text_code_and_what_it_gave(gallery: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script = tmp_path / "mine.py"
    script.write_text(
        "# %% [markdown]\n# # Mine\n#\n# A *text*.\n\n# %%\nx = 6\nprint('said')\nx * 7\n\n"
        "# %%\nimport pandas as pd\nfrom pathlib import Path\n"
        "Path('left.txt').write_text('in a folder that goes')\npd.DataFrame({'a': [x]})\n\n"
        "# %%\nimport matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([1])\n"
        "figure\n"
    )
    page = gallery.run(script)
    assert page.text.startswith("# Mine\n\nA *text*.\n")
    assert "```text\nsaid\n```" in page.text
    assert "```text\n42\n```" in page.text
    assert "<td>6</td>" in page.text
    assert "](mine_1.png)" in page.text
    assert page.pictures["mine_1.png"].startswith(b"\x89PNG")
    assert not (tmp_path / "left.txt").exists()
    assert not Path("left.txt").exists()


def test_a_cell_that_fails_is_named(gallery: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script = tmp_path / "broken.py"
    script.write_text("# %%\nx = 1\n\n# %%\nx / 0\n")
    with pytest.raises(ZeroDivisionError) as failed:
        gallery.run(script)
    assert any("broken.py, cell 2" in str(entry.path) for entry in failed.traceback)
