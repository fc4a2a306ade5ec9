"""GENNAPE: a contrastive encoder, heads weighted by fuzzy memberships, and a mean of six
members."""

from .heads import FuzzyHeads, FuzzyPairHeads
from .label_transform import LabelTransform
from .members import MEMBERS
from .predictor import GENNAPE
from .settings import HeadSettings

__all__ = ["GENNAPE", "MEMBERS", "FuzzyHeads", "FuzzyPairHeads", "HeadSettings", "LabelTransform"]
