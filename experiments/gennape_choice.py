"""What the shipped GENNAPE could be made of: graphs of the encoder, real networks, and epochs.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/gennape_choice.py --work
FOLDER``. The script may be killed at any moment; started again, it continues where it was. Finished
work is lines of ``experiments/results/stores/gennape_choice.jsonl``; encoders and graphs lie in the
folder ``--work``, outside the repository. ``--tables`` writes
``experiments/results/gennape_choice.md`` from the lines and fits nothing.

Protocol: that of ``gennape.py``, without labels and without the k-GNN, for the group of families by
which GENNAPE is chosen alone. What is learnt never saw the families of that group.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch
from ablation_members import FEW_EACH, MANY, encoder
from common import RESULTS, STORES, Lines, folder_of, made_by, markdown_table, parser, write_page
from gennape import CHOSEN_ON, family_of

from archrank.metrics import kendall
from archrank.predictors import GENNAPE, HeadSettings
from archrank.predictors.features.rank_transform import normal_scores
from archrank.predictors.neural.gennape import MEMBERS
from archrank.predictors.pretrained.family_sources import SOURCES
from archrank.predictors.pretrained.gennape_recipe import (
    EACH,
    UNLABELLED,
    Labelled,
    families_of_timm,
)

LINES = Lines(STORES / "gennape_choice.jsonl")
PAGE = RESULTS / "gennape_choice.md"
SEEDS = 2
HEADS = tuple(name for name in MEMBERS if name != "kgnn")
ENCODERS = {"GIN, statistics": FEW_EACH * len(UNLABELLED), MANY: EACH * len(UNLABELLED)}
"""Name -> the graphs that it learnt from."""
FORMER_EPOCHS = 10
TIMM = ("none", "one family", "families")
"""What is learnt of timm's models: nothing, all as one family, or each of its families."""
EPOCHS = (1, 2, 3, 5)
CHOICES = (
    *product(ENCODERS, TIMM, (FORMER_EPOCHS,)),
    *((MANY, "families", epochs) for epochs in EPOCHS),
)
"""Encoder, what is learnt of timm's models, and epochs of the heads."""
KEPT = (MANY, "families", 2)


def learnt_from(timm: str, work: Path) -> dict[str, Labelled]:
    """Read the families that are learnt from: none of the group by which is chosen."""
    names = [one.family for one in SOURCES if one.family not in CHOSEN_ON]
    families = {name: family_of(name) for name in names}
    if timm == "none":
        return families
    real = families_of_timm(work / "timm", CHOSEN_ON)
    if timm == "families":
        return families | real
    samples = [sample for read, _ in real.values() for sample in read]
    scores = np.concatenate([labels for _, labels in real.values()])
    return families | {"timm": (samples, normal_scores(scores))}


def judge(choice: tuple[str, str, int], seed: int, families: list[str], work: Path) -> None:
    """Fit the heads, and write how they order families."""
    name, timm, epochs = choice
    made = GENNAPE(
        HEADS,
        transform=None,
        epochs=epochs,
        pretrained=encoder(name, work),
        heads=HeadSettings(sizes=True),
        random_state=seed,
    ).fit_families(learnt_from(timm, work))
    for family in families:
        read, labels = family_of(family)
        said = {**made.explain(read), "all": made.predict(read)}
        taus = {member: float(kendall(values, labels)) for member, values in said.items()}
        LINES.keep(_key(choice, seed) | {"family": family}, taus=taus, tau=taus["all"])


def _key(choice: tuple[str, str, int], seed: int) -> dict[str, object]:
    return dict(zip(("encoder", "timm", "epochs"), choice, strict=True)) | {"seed": seed}


def tables() -> list[str]:
    """Write the page from the lines."""
    rows = []
    for choice in CHOICES:
        name, timm, epochs = choice
        found = [line for seed in range(SEEDS) for line in LINES.read(**_key(choice, seed))]
        taus = [[one["tau"] for one in found if one["family"] == family] for family in CHOSEN_ON]
        cells = [f"{np.mean(of):.3f}" if len(of) == SEEDS else "-" for of in taus]
        mean = f"{np.mean(taus):.3f}" if "-" not in cells else "-"
        said = [f"{ENCODERS[name]:,}", timm, str(epochs), *cells, mean]
        rows.append([f"**{cell}**" for cell in said] if choice == KEPT else said)
    return [
        "# What the shipped GENNAPE is made of",
        "",
        f"{made_by('gennape_choice.py --work FOLDER', '--tables')} Kendall's tau without labels on "
        f"the families by which GENNAPE is chosen, mean over {SEEDS} seeds, by the mean of the "
        f"members {', '.join(HEADS)}. What is learnt comes from families of other groups "
        "(`gennape.md`, which reports the others): labelled ones, and of timm's models none, all "
        "as one family, or each of its families. The encoder learnt from so many graphs. Chosen: "
        "the row in bold.",
        "",
        *markdown_table(("graphs", "timm", "epochs of heads", *CHOSEN_ON, "mean"), rows),
    ]


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("--work", type=Path, help="folder for encoders and graphs")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    work = folder_of(arguments.work)
    torch.set_num_threads(1)
    for seed, choice in product(range(SEEDS), CHOICES):
        done = {line["family"] for line in LINES.read(**_key(choice, seed))}
        missing = [family for family in CHOSEN_ON if family not in done]
        if missing:
            judge(choice, seed, missing, work)


if __name__ == "__main__":
    main()
