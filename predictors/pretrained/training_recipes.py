"""Training recipes as numbers, since labels depend on them besides the architecture."""

from __future__ import annotations

import math
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
SCHEDULES = {
    "^tv_": (90, 0),  # torchvision's first weights
    "^tv2_": (600, 3),  # torchvision's second
    "gluon|^bt_": (120, 1),  # He et al. 2019, Bag of Tricks
    "^a1h?_|^b[12]k_|^c[12]_|^ch_|^d_": (600, 3),  # Wightman et al. 2021, ResNet Strikes Back
    "^a2_|^ah_|^bh_": (300, 3),
    "^a3_": (100, 3),
    "^lamb": (450, 2),  # timm: A2, half as long again, without CutMix
    "^rmsp": (300, 1),  # timm: without RandAugment
    "^ra_": (450, 2),  # timm's training scripts
    "^pycls": (100, 0),  # Radosavovic et al. 2020, RegNet
    "^tf_|^aa_|^ap_|^ns_": (350, 2),  # Tan and Le 2019, EfficientNet; Bello et al. 2021, ResNet-RS
    "^fb_in1k|^fb_dist|deit": (300, 3),  # Touvron et al. 2021, DeiT
    "^sw_|^ms_|^sail|goog_in1k|msft|^nv_": (300, 3),  # Liu et al. 2021, Swin
    "^dm_": (360, 3),  # Brock et al. 2021, NFNet
    "rvgg": (120, 0),  # Ding et al. 2021, RepVGG
    "^nav": (400, 2),  # Han et al. 2021, ReXNet
    "sam_in1k": (300, 0),  # Chen et al. 2022, ViT with SAM
}
"""What a tag says -> epochs on ImageNet-1k and how strongly images are augmented, as published.

Augmentation: 0 crops and flips; 1 also colours, erasing or mixup; 2 a policy such as RandAugment; 3
a policy with mixup and CutMix. The first pattern that matches counts; the tag's own number of
epochs (``e3600``, ``450e``, ``300ep``) comes before it. Variants, and recipes that follow one of
these, count as it (our choice).
"""
_TYPICAL = (300, 2)
"""The schedule of recipes that say nothing of theirs."""
PLAIN = "in1k"
"""A recipe that says no more than that ImageNet-1k was trained on."""


def schedule_of(recipe: str) -> tuple[int, int]:
    """Return the epochs of a recipe and the strength of its augmentation (``SCHEDULES``).

    Example:
        >>> schedule_of("tv_in1k"), schedule_of("ra4_e3600_r224_in1k"), schedule_of("in1k")
        ((90, 0), (3600, 2), (300, 2))
    """
    known = (schedule for tag, schedule in SCHEDULES.items() if re.search(tag, recipe))
    epochs, augmentation = next(known, _TYPICAL)
    own = re.search(r"(?:^|_)(?:e([1-9]\d*)|([1-9]\d*)ep?)(?:_|$)", recipe)
    return (int(own[1] or own[2]) if own else epochs), augmentation


def context_of(recipe: str) -> tuple[float, ...]:
    """Return what a recipe's tag says, as numbers.

    They are 1 or 0 for each of ``WORDS`` and then ``PARTS``, then log(epochs / 300) and the
    strength of augmentation (``schedule_of``).

    Args:
        recipe: a tag of timm's checkpoints, such as ``"in1k"``, ``"a1_in1k"`` or
            ``"fb_in22k_ft_in1k"``.

    Raises:
        InputError: the recipe is no such tag.

    Example:
        >>> dict(zip((*WORDS, *PARTS), context_of("a1_in1k")))["timm's A1"]
        1.0
        >>> [round(number, 2) for number in context_of("a1_in1k")[-2:]]
        [0.69, 3.0]
    """
    if not isinstance(recipe, str) or not re.fullmatch(r"\w+", recipe):
        raise InputError(
            f"recipe: got {recipe!r}, expected a name as timm tags checkpoints, such as 'in1k', "
            "'a1_in1k' or 'fb_in22k_ft_in1k'"
        )
    said = [re.search(pattern, recipe) is not None for pattern in WORDS.values()]
    parts = recipe.split("_")
    epochs, augmentation = schedule_of(recipe)
    numbers = (*said, *(part in parts for part in PARTS), math.log(epochs / 300), augmentation)
    return tuple(map(float, numbers))


def is_in1k_alone(recipe: str) -> bool:
    """Tell whether a recipe trains on ImageNet-1k alone, and not on another network's outputs.

    Example:
        >>> is_in1k_alone("a1_in1k"), is_in1k_alone("augreg_in21k_ft_in1k")
        (True, False)
    """
    more = list(WORDS.values())[:8]
    return not any(re.search(pattern, recipe) for pattern in more)
