"""ResNet and GPT-2 as plain PyTorch code, for whichever framework's modules are given: like is timed with like."""
from __future__ import annotations

from typing import Any

Conv = tuple[int, int, int, int]  # inputs, outputs, kernel, stride


def residual_blocks(depth: int) -> list[tuple[list[Conv], Conv | None]]:
    """The blocks of ResNet-18 or -50 V1.5: their convolutions, and that of the shortcut where it has one."""
    layers, expansion = ((2, 2, 2, 2), 1) if depth == 18 else ((3, 4, 6, 3), 4)
    blocks: list[tuple[list[Conv], Conv | None]] = []
    inputs = 64
    for n, (count, width) in enumerate(zip(layers, (64, 128, 256, 512), strict=True)):
        outputs = width * expansion
        for i in range(count):
            stride = 2 if n and not i else 1
            convs = ([(inputs, width, 3, stride), (width, width, 3, 1)] if depth == 18 else
                     [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)])
            blocks.append((convs, (inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None))
            inputs = outputs
    return blocks


def resnet(nn: Any, depth: int) -> Any:
    """ResNet-18 or -50 for 1000 classes; ``nn``: the framework's module namespace."""

    def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> Any:
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, convs: list[Conv], down: Conv | None) -> None:
            super().__init__()
            self.convs = nn.ModuleList([convolution(*conv) for conv in convs])
            self.norms = nn.ModuleList([nn.BatchNorm2d(outputs) for _, outputs, _, _ in convs])
            self.relu = nn.ReLU()
            self.down = None if down is None else nn.Sequential(convolution(*down), nn.BatchNorm2d(down[1]))

        def forward(self, x):
            shortcut = x if self.down is None else self.down(x)
            for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
                x = norm(conv(x))
                if n + 1 < len(self.convs):
                    x = self.relu(x)
            return self.relu(x + shortcut)

    blocks = residual_blocks(depth)
    return nn.Sequential(convolution(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
                         *(Block(*block) for block in blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(blocks[-1][0][-1][1], 1000))


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
