"""The operators a program may call: arithmetic on tensors, and nothing that touches a file.

An allowlist, because torch's own namespace also holds ``aten::save`` and ``aten::from_file``,
and everything registered by installed packages lies beside it. What is missing here is refused
by name; adding one needs only the certainty that it computes and does nothing else.
"""

from __future__ import annotations

from typing import Final

_COMPUTING = """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr all alpha_dropout amax
    amin any arange argmax argmin argsort asin asinh atan atan2 atanh atleast_1d atleast_2d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d affine_grid_generator avg_pool1d avg_pool2d
    avg_pool3d baddbmm batch_norm bernoulli bilinear bitwise_and bitwise_not bitwise_or
    bitwise_xor bmm broadcast_tensors broadcast_to bucketize cat cdist ceil celu chunk clamp
    clamp_max clamp_min clip clone column_stack concat concatenate constant_pad_nd contiguous
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d copy copysign cos
    cosh cosine_similarity cross cummax cummin cumprod cumsum deg2rad detach diag diag_embed
    diagonal diff dist div divide dot dropout dsplit dstack einsum elu embedding embedding_bag
    eq erf erfc erfinv exp exp2 expand expand_as expm1 feature_alpha_dropout
    feature_dropout flatten flip fliplr flipud floor floor_divide fmax fmin fmod frac full
    full_like gather ge gelu glu greater greater_equal grid_sampler group_norm gru gru_cell gt
    hardshrink hardsigmoid hardswish hardtanh hstack hypot im2col index index_add index_copy
    index_fill index_put index_select inner instance_norm isfinite isinf isnan kron kthvalue
    layer_norm le leaky_relu lerp less less_equal lift_fresh lift_fresh_copy linalg_norm
    linalg_vector_norm linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp
    logaddexp2 logical_and logical_not logical_or logical_xor logit logsumexp lstm lstm_cell lt
    masked_fill masked_scatter masked_select matmul max max_pool1d max_pool1d_with_indices
    max_pool2d max_pool2d_with_indices max_pool3d maximum mean median meshgrid min minimum mish
    mm moveaxis movedim mul multiply mv nan_to_num nanmean nansum narrow native_group_norm
    native_layer_norm ne neg negative new_full new_ones new_zeros norm normal not_equal
    numpy_T one_hot ones ones_like outer pad pad_sequence permute pixel_shuffle pixel_unshuffle
    polar positive pow prelu prod quantile rad2deg rand rand_like randn randn_like ravel
    reciprocal reflection_pad1d reflection_pad2d relu relu6 remainder repeat repeat_interleave
    replication_pad1d replication_pad2d reshape reshape_as rms_norm rnn_relu rnn_tanh roll rot90
    round rrelu rsqrt rsub scalar_tensor scaled_dot_product_attention scatter scatter_add
    scatter_reduce select select_scatter selu sigmoid sign silu sin sinc sinh slice slice_scatter
    softmax softplus softshrink sort split split_with_sizes sqrt square squeeze stack
    std std_mean sub subtract sum swapaxes swapdims sym_numel sym_size sym_stride t take
    take_along_dim tan tanh tensor_split tensordot threshold tile to topk transpose tril triu
    true_divide trunc type_as unbind unflatten unfold unsqueeze upsample_bicubic2d
    upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d var var_mean
    view view_as vsplit vstack where xlogy zeros zeros_like
    _assert_scalar _assert_tensor_metadata _log_softmax _softmax _to_copy _unsafe_view
    _weight_norm
"""

ATEN: Final = frozenset(_COMPUTING.split())
"""Names in ``torch.ops.aten``, each also in its in-place form with a trailing underscore."""

_ON_SIZES = "add sub mul floordiv mod neg eq ne lt le gt ge getitem truediv and_ or_"

SYMBOLIC: Final = frozenset(_ON_SIZES.split())
"""Names in ``_operator``, used on sizes."""


def allowed(target: str) -> bool:
    """Is `target`, as a program writes it (``torch.ops.aten.add.Tensor``), on the lists?"""
    match target.split("."):
        case ["torch", "ops", "aten", name, overload]:
            known = name in ATEN or name.removesuffix("_") in ATEN
            return known and overload.isidentifier() and not overload.startswith("_")
        case ["_operator", name]:
            return name in SYMBOLIC
        case _:
            return False
