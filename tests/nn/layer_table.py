"""One record per layer and setting; the tests of layers run over them."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.nn.compare import randn


@dataclass(frozen=True)
class Layer:
    """A layer of both libraries and the inputs of a call.

    Attributes:
        name, args, kwargs: the class in ``nn`` and its arguments (torch's tensors are converted).
        inputs: the inputs in float64; integers stay what they are. call: further keyword arguments of the call.
        grad: how many of the inputs are differentiated (None: all of floating type).
        modes: which of "train" and "eval" are compared (a layer that draws numbers in training: "eval").
    """

    name: str
    args: tuple = ()
    inputs: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    modes: str = "train eval"
    grad: int | None = None

    @property
    def id(self) -> str:
        settings = [f"{a}" for a in self.args if not isinstance(a, torch.Tensor)]
        settings += [f"{k}={v}" for k, v in self.kwargs.items() if not isinstance(v, (torch.Tensor, Callable))]
        return f"{self.name}({','.join(settings)})".replace(" ", "")


def layer(name: str, *args: Any, inputs: Any, call: dict[str, Any] | None = None, modes: str = "train eval",
          grad: int | None = None, **kwargs: Any) -> Layer:
    """A record; shapes among the inputs become normal numbers."""
    given = inputs if isinstance(inputs, list) else [inputs]
    made = tuple(randn(*x, seed=i) if isinstance(x, tuple) else x for i, x in enumerate(given))
    return Layer(name, args, made, kwargs, call or {}, modes, grad)


def ints(high: int, *shape: int, low: int = 0) -> torch.Tensor:
    """Reproducible integers."""
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(high))


def unit(*shape: int) -> torch.Tensor:
    """Numbers inside of (0, 1)."""
    return torch.sigmoid(randn(*shape, seed=9))


X = (4, 6)
IMAGE = (2, 4, 6, 7)
signs = torch.tensor([1, -1, -1, 1])

ACTIVATIONS = [
    *(layer(name, inputs=X) for name in ("Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink", "ReLU", "SiLU",
                                         "Mish", "SELU", "Hardsigmoid", "Hardswish", "Hardtanh", "ReLU6", "ELU",
                                         "CELU", "LeakyReLU", "GLU", "GELU", "Hardshrink", "Softshrink", "Softplus",
                                         "PReLU")),
    *(layer(name, inplace=True, inputs=X) for name in ("Hardswish", "ReLU6", "SELU")),
    layer("Threshold", 0.1, 20, inputs=X), layer("Threshold", -0.1, 2.5, True, inputs=X),
    layer("Hardtanh", -2, 0.5, inplace=True, inputs=X), layer("ELU", 0.3, True, inputs=X),
    layer("CELU", alpha=0.7, inputs=X), layer("LeakyReLU", 0.2, inplace=True, inputs=X),
    layer("GLU", 0, inputs=X),
    layer("GELU", "tanh", inputs=X), layer("Hardshrink", 0.1, inputs=X), layer("Softshrink", 0.25, inputs=X),
    layer("Softplus", 2, 3, inputs=X), layer("PReLU", 6, init=0.1, inputs=X),
    layer("RReLU", inputs=X, modes="eval"), layer("RReLU", 0.1, 0.3, inplace=True, inputs=X, modes="eval"),
    layer("Softmax", 1, inputs=X), layer("Softmin", dim=0, inputs=X), layer("LogSoftmax", -1, inputs=X),
    layer("Softmax2d", inputs=IMAGE), layer("Softmax2d", inputs=(3, 2, 2)),
]

LINEAR = [
    layer("Identity", 54, unused=0.1, inputs=X),
    layer("Linear", 6, 5, inputs=X), layer("Linear", 6, 5, bias=False, inputs=(2, 3, 6)),
    layer("Linear", 6, 1, inputs=(6,)),
    layer("Bilinear", 3, 4, 5, inputs=[(2, 3), (2, 4)]),
    layer("Bilinear", 3, 4, 5, False, inputs=[(6, 2, 3), (6, 2, 4)]),
    layer("Flatten", inputs=(2, 3, 4)), layer("Flatten", 0, 1, inputs=(2, 3, 4)),
    layer("Unflatten", 1, (2, 3), inputs=X), layer("Unflatten", -1, [3, -1], inputs=X),
    layer("CosineSimilarity", inputs=[X, X]), layer("CosineSimilarity", dim=0, eps=1e-4, inputs=[X, X]),
    layer("PairwiseDistance", inputs=[X, X]), layer("PairwiseDistance", p=1, keepdim=True, inputs=[X, X]),
]

DROPOUT = [layer(name, p, inputs=IMAGE, modes=modes) for p, modes in ((0.3, "eval"), (0.0, "train eval"))
           for name in ("Dropout", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout")]
DROPOUT += [layer("Dropout1d", 0.1, True, inputs=(2, 3, 4), modes="eval"),
            layer("Dropout3d", inputs=(2, 3, 4, 2, 2), modes="eval"), layer("Dropout", 1.0, inputs=X)]

CONVOLUTIONS = [
    layer("Conv1d", 4, 6, 3, inputs=(2, 4, 9)),
    layer("Conv1d", 4, 6, 3, padding="same", bias=False, inputs=(4, 9)),
    layer("Conv2d", 4, 6, 3, inputs=IMAGE), layer("Conv2d", 4, 6, (3, 2), (2, 1), (1, 0), inputs=IMAGE),
    layer("Conv2d", 4, 6, 3, groups=2, dilation=2, padding=2, inputs=IMAGE),
    layer("Conv2d", 4, 8, 3, groups=4, inputs=IMAGE), layer("Conv2d", 4, 6, 1, inputs=(4, 6, 7)),
    layer("Conv2d", 4, 6, (4, 3), padding="same", padding_mode="circular", inputs=IMAGE),
    *(layer("Conv2d", 4, 6, 3, padding=(1, 2), padding_mode=mode, inputs=IMAGE)
      for mode in ("reflect", "replicate", "circular")),
    layer("Conv3d", 2, 4, 2, padding=1, stride=2, inputs=(2, 2, 4, 5, 3)),
    layer("ConvTranspose1d", 4, 6, 3, stride=2, inputs=(2, 4, 5)),
    layer("ConvTranspose2d", 4, 6, 3, 2, 1, output_padding=1, inputs=IMAGE),
    layer("ConvTranspose2d", 4, 6, (3, 2), groups=2, bias=False, dilation=(1, 2), inputs=IMAGE),
    layer("ConvTranspose2d", 4, 6, 3, 2, 1, inputs=IMAGE, call={"output_size": [12, 14]}),
    layer("ConvTranspose3d", 2, 4, 2, stride=2, inputs=(2, 2, 2, 3, 2)),
]

POOLS = [
    *(layer(f"MaxPool{n}d", 2, inputs=(2, 3) + (5,) * n) for n in (1, 2, 3)),
    layer("MaxPool2d", 3, 2, 1, ceil_mode=True, inputs=IMAGE),
    layer("MaxPool2d", (3, 2), (2, 1), return_indices=True, inputs=IMAGE),
    layer("MaxPool2d", 2, dilation=2, inputs=(4, 6, 7)),
    *(layer(f"AvgPool{n}d", 2, inputs=(2, 3) + (5,) * n) for n in (1, 2, 3)),
    layer("AvgPool2d", 3, 2, 1, ceil_mode=True, count_include_pad=False, inputs=IMAGE),
    layer("AvgPool2d", 2, divisor_override=3, inputs=IMAGE), layer("AvgPool1d", 3, 1, 1, inputs=(3, 7)),
    *(layer(f"LPPool{n}d", 2, 2, inputs=(2, 3) + (4,) * n) for n in (1, 2, 3)),
    layer("LPPool2d", 3.0, (2, 3), stride=(2, 1), ceil_mode=True, inputs=unit(2, 3, 5, 5)),
    *(layer(f"AdaptiveAvgPool{n}d", 2, inputs=(2, 3) + (5,) * n) for n in (1, 2, 3)),
    layer("AdaptiveAvgPool2d", (None, 3), inputs=IMAGE), layer("AdaptiveAvgPool2d", (1, 1), inputs=IMAGE),
    *(layer(f"AdaptiveMaxPool{n}d", 2, inputs=(2, 3) + (5,) * n) for n in (1, 2, 3)),
    layer("AdaptiveMaxPool2d", (3, None), return_indices=True, inputs=IMAGE),
    *(layer(f"FractionalMaxPool{n}d", 2, size, ratio, inputs=(2, 3) + (8, 7, 5)[:n], return_indices=indices,
            _random_samples=unit(2, 3, n))
      for n in (2, 3) for size, ratio, indices in ((3, None, True), (None, 0.5, False))),
    layer("MaxUnpool1d", 2, inputs=[(1, 1, 4), torch.tensor([[[0, 3, 4, 7]]])]),
    layer("MaxUnpool2d", 2, 2, inputs=[(1, 1, 2, 2), torch.tensor([[[[0, 3], [8, 15]]]])]),
    layer("MaxUnpool3d", 2, inputs=[(1, 1, 1, 1, 1), torch.tensor([[[[[6]]]]])]),
]

NORMS = [
    layer("BatchNorm1d", 6, inputs=X), layer("BatchNorm1d", 3, momentum=None, inputs=(4, 3, 5)),
    layer("BatchNorm2d", 4, inputs=IMAGE),
    layer("BatchNorm2d", 4, eps=1e-2, momentum=0.3, bias=False, inputs=IMAGE),
    layer("BatchNorm2d", 4, affine=False, inputs=IMAGE),
    layer("BatchNorm2d", 4, track_running_stats=False, inputs=IMAGE),
    layer("BatchNorm3d", 2, inputs=(2, 2, 3, 2, 4)),
    layer("SyncBatchNorm", 6, inputs=X), layer("SyncBatchNorm", 4, 1e-2, None, bias=False, inputs=IMAGE),
    layer("SyncBatchNorm", 4, affine=False, track_running_stats=False, inputs=IMAGE),
    layer("InstanceNorm1d", 3, inputs=(2, 3, 5)), layer("InstanceNorm1d", 3, affine=True, inputs=(3, 5)),
    layer("InstanceNorm2d", 4, affine=True, track_running_stats=True, inputs=IMAGE),
    layer("InstanceNorm3d", 2, track_running_stats=True, inputs=(2, 2, 3, 2, 4)),
    layer("LayerNorm", 6, inputs=X), layer("LayerNorm", (3, 4), eps=1e-3, bias=False, inputs=(2, 3, 4)),
    layer("LayerNorm", [6], elementwise_affine=False, inputs=X),
    layer("GroupNorm", 2, 4, inputs=IMAGE), layer("GroupNorm", 4, 4, bias=False, inputs=IMAGE),
    layer("GroupNorm", 1, 6, affine=False, inputs=X),
    layer("RMSNorm", 6, inputs=X), layer("RMSNorm", (3, 4), eps=1e-2, elementwise_affine=False, inputs=(2, 3, 4)),
    layer("LocalResponseNorm", 3, inputs=IMAGE), layer("LocalResponseNorm", 2, 1e-2, 0.5, 2, inputs=(2, 5, 4)),
]

bag, offsets = ints(10, 8), torch.tensor([0, 3, 3, 6])
EMBEDDINGS = [
    layer("Embedding", 10, 3, inputs=ints(10, 2, 4)),
    layer("Embedding", 10, 3, padding_idx=-2, inputs=ints(10, 2, 4)),
    layer("Embedding", 10, 3, max_norm=0.5, norm_type=1.0, inputs=ints(10, 5)),
    layer("Embedding", 10, 3, scale_grad_by_freq=True, inputs=ints(10, 12)),
    *(layer("EmbeddingBag", 10, 3, mode=mode, inputs=ints(10, 2, 4)) for mode in ("sum", "mean", "max")),
    layer("EmbeddingBag", 10, 3, padding_idx=1, inputs=[bag, offsets]),
    layer("EmbeddingBag", 10, 3, max_norm=1.0, include_last_offset=True, inputs=[bag, torch.tensor([0, 2, 8])]),
    layer("EmbeddingBag", 10, 3, mode="sum", inputs=[bag, offsets], call={"per_sample_weights": randn(8)}),
]

PADDINGS = [
    *(layer(f"{kind}Pad{n}d", 2, inputs=(2, 3) + (4,) * n) for n in (1, 2, 3)
      for kind in ("Reflection", "Replication", "Circular", "Zero")),
    *(layer(f"ConstantPad{n}d", 1, 3.5, inputs=(2, 3) + (4,) * n) for n in (1, 2, 3)),
    layer("ZeroPad2d", (1, 0, 2, -1), inputs=IMAGE), layer("ConstantPad1d", (1, 2), -1, inputs=X),
    layer("ReflectionPad2d", (1, 0, 2, 3), inputs=IMAGE), layer("CircularPad2d", (1, 0, 2, 3), inputs=IMAGE),
]

REARRANGING = [
    layer("PixelShuffle", 2, inputs=(2, 8, 3, 2)), layer("PixelUnshuffle", 2, inputs=(2, 2, 4, 6)),
    layer("ChannelShuffle", 2, inputs=IMAGE), layer("Unfold", (2, 3), inputs=IMAGE),
    layer("Unfold", 2, dilation=2, padding=1, stride=2, inputs=IMAGE),
    layer("Fold", (4, 5), (2, 2), inputs=(2, 12, 12)),
    layer("Upsample", scale_factor=2, inputs=IMAGE),
    layer("Upsample", size=(5, 9), mode="bilinear", inputs=IMAGE),
    layer("Upsample", scale_factor=(1.5, 2.0), mode="bicubic", align_corners=True, inputs=IMAGE),
    layer("Upsample", None, 2, "linear", inputs=(2, 3, 5)),
    layer("Upsample", 4, mode="trilinear", inputs=(1, 2, 3, 2, 3)),
    layer("UpsamplingNearest2d", scale_factor=2, inputs=IMAGE),
    layer("UpsamplingBilinear2d", (9, 8), inputs=IMAGE),
]

classes = ints(6, 4)
log_probs, labels = randn(6, 2, 5).log_softmax(2), torch.tensor([[1, 3, 3], [2, 1, 1]])
LOSSES = [
    *(layer(name, reduction=reduction, inputs=[X, X]) for reduction in ("mean", "sum", "none")
      for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss")),
    layer("SmoothL1Loss", beta=0.5, inputs=[X, X]), layer("HuberLoss", delta=0.3, inputs=[X, X]),
    layer("MSELoss", size_average=False, inputs=[X, X]), layer("L1Loss", reduce=False, inputs=[X, X]),
    layer("NLLLoss", inputs=[X, classes]), layer("NLLLoss", unit(6), ignore_index=2, inputs=[X, classes]),
    layer("CrossEntropyLoss", inputs=[X, classes]), layer("CrossEntropyLoss", inputs=[X, unit(4, 6)]),
    layer("CrossEntropyLoss", unit(6), label_smoothing=0.1, ignore_index=1, inputs=[X, classes]),
    layer("PoissonNLLLoss", inputs=[X, unit(4, 6)]),
    layer("PoissonNLLLoss", False, True, inputs=[unit(4, 6), unit(4, 6) * 5]),
    layer("GaussianNLLLoss", inputs=[X, X, unit(4, 6)]),
    layer("GaussianNLLLoss", full=True, inputs=[X, X, unit(4, 1)]),
    layer("KLDivLoss", reduction="batchmean", inputs=[X, unit(4, 6)]),
    layer("KLDivLoss", reduction="sum", log_target=True, inputs=[X, X]),
    layer("BCELoss", inputs=[unit(4, 6), unit(4, 6)]),
    layer("BCELoss", unit(4, 6), reduction="none", inputs=[unit(4, 6)] * 2),
    layer("BCEWithLogitsLoss", inputs=[X, unit(4, 6)]),
    layer("BCEWithLogitsLoss", unit(4, 6), pos_weight=unit(6), inputs=[X, unit(4, 6)]),
    layer("HingeEmbeddingLoss", inputs=[(4,), signs]), layer("HingeEmbeddingLoss", 0.5, inputs=[(4,), signs]),
    layer("MultiLabelMarginLoss", inputs=[(2, 4), torch.tensor([[3, 0, -1, 1], [1, -1, 0, 2]])]),
    layer("SoftMarginLoss", inputs=[(4,), signs.double()], grad=1),
    layer("MultiLabelSoftMarginLoss", inputs=[X, (randn(4, 6) > 0).double()]),
    layer("MultiLabelSoftMarginLoss", unit(6), inputs=[X, (randn(4, 6) > 0).double()]),
    layer("CosineEmbeddingLoss", 0.1, inputs=[X, X, signs]),
    layer("MarginRankingLoss", margin=0.2, inputs=[(4,), (4,), signs]),
    layer("MultiMarginLoss", inputs=[X, classes]), layer("MultiMarginLoss", 2, 0.5, unit(6), inputs=[X, classes]),
    *(layer("CTCLoss", blank, reduction, zero, inputs=[log_probs, labels, torch.tensor([6, 5]), torch.tensor([3, 2])])
      for blank, reduction, zero in ((0, "mean", False), (0, "sum", True), (4, "none", False))),
    layer("TripletMarginLoss", inputs=[X, X, X]), layer("TripletMarginLoss", 2.0, 1, swap=True, inputs=[X, X, X]),
    layer("TripletMarginWithDistanceLoss", inputs=[X, X, X]),
    layer("TripletMarginWithDistanceLoss", margin=0.5, swap=True, reduction="none", inputs=[X, X, X]),
]

ADAPTIVE = [
    layer("AdaptiveLogSoftmaxWithLoss", 8, 12, [4, 9], 2.0, inputs=[(6, 8), torch.tensor([0, 3, 4, 8, 9, 11])]),
    layer("AdaptiveLogSoftmaxWithLoss", 8, 12, (3,), head_bias=True, inputs=[(8,), torch.tensor(5)]),
]

FAMILIES = {"activations": ACTIVATIONS, "linear": LINEAR, "dropout": DROPOUT, "convolutions": CONVOLUTIONS,
            "pools": POOLS, "norms": NORMS, "embeddings": EMBEDDINGS, "paddings": PADDINGS,
            "rearranging": REARRANGING, "losses": LOSSES, "adaptive": ADAPTIVE}
