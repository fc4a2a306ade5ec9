"""Training recipes as numbers, since labels depend on them besides the architecture."""

from __future__ import annotations

import re

from ...errors import InputError

WORDS = {
    "pretrained on ImageNet-21k": "in21k",
    "pretrained on ImageNet-22k": "in22k",
    "pretrained on ImageNet-12k": "in12k",
    "pseudo-labels of JFT": "jft|^ns_|_ns_",
    "pretrained on image-text pairs": "laion|clip|openai|datacomp|dfn|webli|merged",
    "pretrained on hashtags": "swag|^ig|_ig|wsl|yfcc|swsl|ssl",
    "pretrained without labels": "mim|mae|beit|fcmae|dino",
    "distilled": "dist|ssld",
    "timm's A1": "^a1_|^a1h_",
    "timm's A2": "^a2_",
    "timm's A3": "^a3_",
    "LAMB, 300 epochs": "^ah_|^bh_|lamb|sbb",
    "RandAugment": "^ra_|^ra2_",
    "RandAugment, third": "^ra3_",
    "RandAugment, fourth": "^ra4_",
    "Swin's": "^sw_|^ms_",
    "AugReg": "augreg",
    "gluon": "gluon",
    "torchvision's first": "^tv_",
    "torchvision's second": "^tv2_",
    "big transfer": "^bt_|goog",
    "TensorFlow's": "^tf_",
    "adversarial or AutoAugment": "^ap_|^aa_",
    "MIIL": "miil",
    "Facebook's": "^fb_",
    "many epochs": "e3600|e600|450e|600e|800e",
    "short, small images": "^r160_|^pycls",
    "classy vision, paddle": "paddle|^c1_|^c2_|^ch_|^d_",
    "mobile": "cvnets|apple",
    "structural": "rvgg|snap|dm_|sail",
}
"""What a name of a recipe can say -> how timm's pretrained tags say it. Our choice."""
PARTS = (
    *("384", "dist", "e200", "e250", "e3600", "e450", "e500", "fb", "ft", "gluon", "goog", "in12k"),
    *("in1k", "in21k", "in22k", "miil", "ms", "paddle", "r160", "r224", "r256", "r384"),
    *("ra", "ra2", "ra3", "ra4", "sbb2", "sw", "tv2"),
)
"""Parts of timm's tags that checkpoints of two families or more have."""
PLAIN = "in1k"
"""A recipe that says no more than that ImageNet-1k was trained on."""


def context_of(recipe: str) -> tuple[float, ...]:
    """Return for each of ``WORDS`` and then ``PARTS`` whether a recipe has it, as 1 or 0.

    Args:
        recipe: a tag of timm's checkpoints, such as ``"in1k"``, ``"a1_in1k"`` or
            ``"fb_in22k_ft_in1k"``.

    Raises:
        InputError: the recipe is no such tag.

    Example:
        >>> dict(zip((*WORDS, *PARTS), context_of("a1_in1k")))["timm's A1"]
        1.0
        >>> sum(context_of("in1k"))  # of its parts, "in1k" alone is known
        1.0
    """
    if not isinstance(recipe, str) or not re.fullmatch(r"\w+", recipe):
        raise InputError(
            f"recipe: got {recipe!r}, expected a name as timm tags checkpoints, such as 'in1k', "
            "'a1_in1k' or 'fb_in22k_ft_in1k'"
        )
    said = [re.search(pattern, recipe) is not None for pattern in WORDS.values()]
    parts = recipe.split("_")
    return tuple(map(float, (*said, *(part in parts for part in PARTS))))


def is_in1k_alone(recipe: str) -> bool:
    """Tell whether a recipe trains on ImageNet-1k alone, and not on another network's outputs.

    Example:
        >>> is_in1k_alone("a1_in1k"), is_in1k_alone("augreg_in21k_ft_in1k")
        (True, False)
    """
    more = list(WORDS.values())[:8]
    return not any(re.search(pattern, recipe) for pattern in more)
