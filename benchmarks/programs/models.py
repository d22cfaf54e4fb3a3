"""ResNet and GPT-2 as plain PyTorch code, for whichever framework's modules are given: like is timed with like."""
from __future__ import annotations

from typing import Any


def resnet(nn: Any, layers: tuple[int, ...], bottleneck: bool) -> Any:
    """ResNet V1.5 for 1000 classes; ``nn``: the framework's module namespace."""
    expansion = 4 if bottleneck else 1

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = width * expansion
            sizes = ([(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)] if bottleneck else
                     [(inputs, width, 3, stride), (width, width, 3, 1)])
            self.convs = nn.ModuleList([nn.Conv2d(i, o, k, stride=s, padding=k // 2, bias=False)
                                        for i, o, k, s in sizes])
            self.norms = nn.ModuleList([nn.BatchNorm2d(o) for _, o, _, _ in sizes])
            self.relu = nn.ReLU()
            self.down = None
            if stride != 1 or inputs != outputs:
                self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                                          nn.BatchNorm2d(outputs))

        def forward(self, x):
            shortcut = x if self.down is None else self.down(x)
            for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
                x = norm(conv(x))
                if n + 1 < len(self.convs):
                    x = self.relu(x)
            return self.relu(x + shortcut)

    parts: list[Any] = [nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                        nn.MaxPool2d(3, stride=2, padding=1)]
    inputs = 64
    for n, (count, width) in enumerate(zip(layers, (64, 128, 256, 512), strict=True)):
        for i in range(count):
            parts.append(Block(inputs, width, 2 if n and not i else 1))
            inputs = width * expansion
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def gpt2(torch: Any, nn: Any, F: Any, vocabulary: int = 50257, positions: int = 1024, width: int = 768,
         depth: int = 12, heads: int = 12) -> Any:
    """GPT-2 small: pre-norm, tanh GELU, tied head, no dropout."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x):                                                          # (B, T, C)
            B, T, C = x.shape
            q, k, v = (part.view(B, T, heads, C // heads).transpose(1, 2) for part in self.qkv(x).split(C, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)                # (B, H, T, C/H)
            return self.out(y.transpose(1, 2).reshape(B, T, C))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln1, self.attention, self.ln2 = nn.LayerNorm(width), Attention(), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            x = x + self.attention(self.ln1(x))
            return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))

    class GPT2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
            self.blocks = nn.ModuleList([Block() for _ in range(depth)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids):
            x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))
    return GPT2()
