"""Operator vocabularies, and the canonical operator of each ATen call.

There are two vocabularies. ``"default"`` has the fine classes that a reader of a network would
name. ``"gennape"`` has the 31 classes of GENNAPE (Mills et al., AAAI-23), and out-of-vocabulary as
id 0; every default operator maps to one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UNKNOWN = "unknown"

# Canonical operator -> ATen names, without overload, leading underscore or in-place suffix. Grouped
# as a reader would group them. Operators that the recorder names itself have an empty entry.
_ATEN_NAMES: dict[str, str] = {
    "input": "",
    "output": "",
    # weighted
    "conv1d": "",
    "conv2d": "",
    "conv3d": "",
    "depthwise_conv": "",
    "conv_transpose1d": "",
    "conv_transpose2d": "",
    "conv_transpose3d": "",
    "linear": "linear",
    "embedding": "embedding embedding_bag embedding_bag_forward_only",
    "lstm": "lstm lstm_cell",
    "gru": "gru gru_cell",
    "rnn": "rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell",
    "deform_conv": "deform_conv2d",
    # products of activations
    "matmul": "mm bmm addmm baddbmm addbmm mv addmv dot vdot matmul",
    "attention": "scaled_dot_product_attention scaled_dot_product_flash_attention "
    "scaled_dot_product_flash_attention_for_cpu scaled_dot_product_efficient_attention "
    "scaled_dot_product_cudnn_attention scaled_dot_product_fused_attention_overrideable "
    "scaled_dot_product_attention_math flex_attention",
    "cdist": "cdist cdist_forward pdist_forward",
    # normalisation
    "batch_norm": "batch_norm native_batch_norm native_batch_norm_legit cudnn_batch_norm "
    "miopen_batch_norm batch_norm_with_update native_batch_norm_legit_no_training "
    "batch_norm_no_update",
    "layer_norm": "layer_norm native_layer_norm",
    "group_norm": "group_norm native_group_norm",
    "instance_norm": "instance_norm",
    "rms_norm": "rms_norm fused_rms_norm",
    "norm": "linalg_vector_norm norm frobenius_norm linalg_matrix_norm weight_norm_interface",
    # activations
    "relu": "relu",
    "relu6": "",
    "leaky_relu": "leaky_relu rrelu_with_noise rrelu",
    "prelu": "prelu prelu_kernel",
    "elu": "elu celu selu",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid log_sigmoid_forward",
    "tanh": "tanh",
    "hardtanh": "hardtanh",
    "softplus": "softplus",
    "threshold": "threshold hardshrink softshrink",
    "glu": "glu",
    "softmax": "softmax safe_softmax log_softmax",
    # element-wise arithmetic
    "add": "add addcmul addcdiv lerp",
    "sub": "sub rsub",
    "mul": "mul",
    "zero": "",
    "div": "div reciprocal floor_divide remainder fmod",
    "pow": "pow square",
    "sqrt": "sqrt rsqrt",
    "exp": "exp exp2 expm1",
    "log": "log log1p log2 log10 logsumexp xlogy logcumsumexp logaddexp",
    "neg": "neg abs sign sgn",
    "trigonometric": "sin cos tan asin acos atan atan2 sinh cosh erf erfc erfinv polar",
    "clamp": "clamp clamp_min clamp_max maximum minimum fmax fmin",
    "round": "round floor ceil trunc frac",
    "compare": "eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_not "
    "logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor isin bucketize searchsorted "
    "any all nan_to_num",
    "where": "where masked_fill",
    # reductions
    "global_avg_pool": "",
    "mean": "mean",
    "sum": "sum prod trace",
    "extremum": "max min amax amin argmax argmin median aminmax",
    "variance": "var std var_mean std_mean",
    "cumulative": "cumsum cumprod cummax cummin",
    "sort": "sort topk argsort kthvalue unique unique2 unique_consecutive unique_dim nms",
    # pooling
    "max_pool": "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "max_pool1d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "fractional_max_pool2d fractional_max_pool3d max_unpool2d max_unpool3d roi_pool",
    "avg_pool": "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d roi_align ps_roi_align",
    # moving values around
    "concat": "cat concat concatenate hstack vstack",
    "stack": "stack",
    "pad": "constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d",
    "roll": "roll flip rot90",
    "repeat": "repeat repeat_interleave tile",
    "interpolate": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
    "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d upsample_nearest_exact1d "
    "upsample_nearest_exact2d upsample_nearest_exact3d upsample_bilinear2d_aa "
    "upsample_bicubic2d_aa",
    "grid_sample": "grid_sampler grid_sampler_2d grid_sampler_3d affine_grid_generator",
    "pixel_shuffle": "pixel_shuffle channel_shuffle native_channel_shuffle",
    "pixel_unshuffle": "pixel_unshuffle",
    "unfold": "im2col unfold",
    "fold": "col2im fold",
    "gather": "index index_select gather take take_along_dim masked_select nonzero "
    "nonzero_static tril triu diagonal_copy diag diag_embed one_hot bincount histc",
    "scatter": "scatter scatter_add scatter_reduce index_put index_put_impl index_add index_copy "
    "index_fill index_reduce masked_scatter slice_scatter select_scatter segment_reduce copy "
    "fill zero put",
    "fourier": "fft_r2c fft_c2r fft_c2c stft istft",
    "loss": "nll_loss nll_loss_forward nll_loss2d_forward mse_loss smooth_l1_loss l1_loss "
    "huber_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div "
    "cross_entropy_loss multilabel_margin_loss_forward multi_margin_loss",
    "linear_algebra": "linalg_inv_ex linalg_solve_ex linalg_eigh linalg_svd linalg_qr "
    "linalg_cholesky_ex linalg_det linalg_slogdet svd cholesky cross linalg_cross",
    "sparse_matmul": "sparse_mm sparse_addmm spmm segment_matmul grouped_mm grouped_mm_fallback",
}

WEIGHTED = frozenset(
    "conv1d conv2d conv3d depthwise_conv conv_transpose1d conv_transpose2d conv_transpose3d "
    "linear embedding lstm gru rnn deform_conv".split()
)
"""Operators that apply a learned weight."""

PRODUCTS = WEIGHTED - {"embedding"} | {"matmul", "attention", "sparse_matmul"}
"""Operators made of matrix products: they make up ``depth`` and ``activations``."""

NORMS = frozenset("batch_norm layer_norm group_norm instance_norm rms_norm".split())

RECTIFIERS = frozenset("relu relu6 leaky_relu prelu elu gelu silu mish hardswish".split())
"""Activations that pass positive and damp negative inputs: their sign pattern is a binary code."""

_GENNAPE_NAMES = (
    "oov input output conv depthwise batchnorm relu relu6 matmul add mul concat maxpool avgpool "
    "sigmoid tanh swish gelu paddings mean spacetobatchnd batchtospacend spacetodepthnd "
    "depthtospacend global identity zero reserved1 reserved2 reserved3 reserved4 reserved5"
).split()

# Sub is an addition and div a product up to sign and reciprocal; hardswish is the piecewise form
# of swish and hardsigmoid of sigmoid: our choice, GENNAPE's families hold none of them.
_TO_GENNAPE: dict[str, str] = {
    "input": "input",
    "output": "output",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "conv_transpose1d": "conv",
    "conv_transpose2d": "conv",
    "conv_transpose3d": "conv",
    "depthwise_conv": "depthwise",
    "linear": "matmul",
    "matmul": "matmul",
    "batch_norm": "batchnorm",
    "relu": "relu",
    "relu6": "relu6",
    "add": "add",
    "sub": "add",
    "mul": "mul",
    "zero": "zero",
    "div": "mul",
    "concat": "concat",
    "stack": "concat",
    "max_pool": "maxpool",
    "avg_pool": "avgpool",
    "sigmoid": "sigmoid",
    "hardsigmoid": "sigmoid",
    "tanh": "tanh",
    "silu": "swish",
    "hardswish": "swish",
    "gelu": "gelu",
    "pad": "paddings",
    "mean": "mean",
    "global_avg_pool": "global",
    "pixel_shuffle": "depthtospacend",
    "pixel_unshuffle": "spacetodepthnd",
}


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of operator classes; class 0 holds all unknown operators.

    Args:
        name: the name by which it is selected.
        classes: class names in the order of their ids; the first is the out-of-vocabulary class.
        mapping: canonical operator -> class name; operators that are missing belong to class 0.

    Example:
        >>> vocabulary("gennape").encode("silu"), len(vocabulary("gennape"))
        (16, 32)
    """

    name: str
    classes: tuple[str, ...]
    mapping: Mapping[str, str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.classes)

    def encode(self, operator: str) -> int:
        """Return the class id of a canonical operator, 0 if it is out of vocabulary."""
        target = self.mapping.get(operator)
        return 0 if target is None else self.classes.index(target)


CANONICAL: tuple[str, ...] = (UNKNOWN, *_ATEN_NAMES)
"""All canonical operators; the index of one is what ``Graph.operator`` holds."""
CANONICAL_ID: dict[str, int] = {name: index for index, name in enumerate(CANONICAL)}

_VOCABULARIES = {
    "default": Vocabulary("default", CANONICAL, {name: name for name in _ATEN_NAMES}),
    "gennape": Vocabulary("gennape", tuple(_GENNAPE_NAMES), _TO_GENNAPE),
}

_BY_ATEN = {aten: name for name, names in _ATEN_NAMES.items() for aten in names.split()}


def vocabulary(name: str = "default") -> Vocabulary:
    """Return the vocabulary called ``name``: ``"default"`` or ``"gennape"``.

    Raises:
        InputError: no vocabulary has that name.
    """
    from ..errors import InputError

    try:
        return _VOCABULARIES[name]
    except KeyError:
        known = ", ".join(map(repr, _VOCABULARIES))
        raise InputError(f"vocabulary: got {name!r}, expected one of {known}") from None


def canonical(aten_name: str) -> str:
    """Return the canonical operator of an ATen name such as ``aten.relu_``; ``"unknown"`` if none.

    Example:
        >>> canonical("aten.relu_"), canonical("aten._softmax"), canonical("mylib.magic")
        ('relu', 'softmax', 'unknown')
    """
    base = aten_name.rpartition(".")[2]
    return _BY_ATEN.get(base) or _BY_ATEN.get(base.strip("_"), UNKNOWN)
