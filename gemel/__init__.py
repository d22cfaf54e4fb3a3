"""Gemel: write it like PyTorch, ship it like TensorFlow.

    >>> import gemel
    >>> x = gemel.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
"""
from __future__ import annotations

import importlib
import math
import sys
from typing import Any

from .engine.base.collector import relax as _relax_collector
from .engine.base.dtypes import DType as dtype
from .engine.base.dtypes import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .engine.base.frames import install as _install_frames
from .tensor.arithmetic import *
from .tensor.arranging import *
from .tensor.attributes import *
from .tensor.calculus import *
from .tensor.comparison import *
from .tensor.complex_numbers import *
from .tensor.contraction import *
from .tensor.conversion import *
from .tensor.creation import *
from .tensor.devices import *
from .tensor.functions import *
from .tensor.grad_mode import *
from .tensor.indexing import *
from .tensor.joining import *
from .tensor.legacy import *
from .tensor.masking import *
from .tensor.matrices import *
from .tensor.movement import *
from .tensor.pointwise import *
from .tensor.printing import *
from .tensor.random import *
from .tensor.reduction import *
from .tensor.scans import *
from .tensor.scattering import *
from .tensor.settings import *
from .tensor.softmax import *
from .tensor.sorting import *
from .tensor.spectral import *
from .tensor.statistics import *
from .tensor.tensor import Tensor
from .tensor.typeinfo import *
from .tensor.viewing import *
from .tensor.windows import *

__version__ = "0.1.0"

half, float, double = float16, float32, float64
short, int, long, bool = int16, int32, int64, bool_
cfloat, cdouble = complex64, complex128

e, pi, inf, nan = math.e, math.pi, math.inf, math.nan
newaxis = None

_install_frames()
_relax_collector()

#: submodules that are imported when they are first used, so that ``import gemel`` stays short
_LAZY = frozenset(("accelerator", "amp", "autograd", "backends", "compiler", "cpu", "cuda", "debug", "fft", "func",
                   "linalg", "models", "nn", "optim", "random", "serialization", "signal", "special", "testing",
                   "utils", "vision"))
#: functions of such submodules
_LAZY_NAMES = {"autocast": ".amp", "compile": ".compiler", "get_autocast_dtype": ".amp",
               "is_autocast_enabled": ".amp", "load": ".serialization",
               "norm_except_dim": ".nn.utils.weight_norm", "save": ".serialization", "vmap": ".func"}
#: functions of ``nn.functional`` that torch also has at the top
_LAZY_NAMES.update(dict.fromkeys((
    "adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d", "batch_norm", "bilinear",
    "binary_cross_entropy_with_logits", "celu", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "ctc_loss", "dropout", "embedding", "embedding_bag", "feature_alpha_dropout", "group_norm",
    "hardshrink", "hinge_embedding_loss", "instance_norm", "kl_div", "layer_norm", "margin_ranking_loss",
    "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool3d", "pairwise_distance", "pdist",
    "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "rms_norm", "rrelu", "rrelu_", "selu", "selu_",
    "threshold", "threshold_", "triplet_margin_loss"), ".nn.functional"))
#: methods of ``Tensor`` that torch also has at the top, mostly those that write in place
_METHODS = frozenset((
    "abs_", "acos_", "acosh_", "addmv_", "arccos_", "arccosh_", "arcsin_", "arcsinh_", "arctan_", "arctanh_", "asin_",
    "asinh_", "atan_", "atanh_", "ceil_", "clamp_", "clamp_max_", "clamp_min_", "clip_", "cos_", "cosh_", "deg2rad_",
    "erf_", "erfc_", "exp2_", "exp_", "expm1_", "fix_", "floor_", "frac_", "gcd_", "get_device", "i0_", "is_inference",
    "is_signed", "lcm_", "ldexp_", "log10_", "log1p_", "log2_", "log_", "logit_", "nan_to_num_", "neg_", "negative_",
    "rad2deg_", "reciprocal_", "relu_", "round_", "rsqrt_", "sigmoid_", "sin_", "sinc_", "sinh_", "sqrt_", "square_",
    "tan_", "tanh_", "trunc_", "xlogy_"))


def __getattr__(name: str) -> Any:
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(_LAZY_NAMES[name], __name__), name)
    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    if name in _METHODS:
        return getattr(Tensor, name)
    if name.startswith("_foreach_"):
        return getattr(importlib.import_module(".tensor.foreach", __name__), name)
    why = ": there are no sparse tensors" if name.startswith("sparse_") else ""
    raise AttributeError(f"module 'gemel' has no attribute {name!r}{why}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_NAMES, *_METHODS})
