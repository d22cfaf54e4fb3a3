"""The workloads written in PyTorch. The same lines run in Gemel: only the imported name differs."""
from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from . import models
from .operations import MANY, NAMES, operations

Run = Callable[[], Any]
CHAIN = 1000  # additions of W4
BLOCK = 50    # steps of W5 between two looks at the loss


class Programs:
    """Workloads for the framework ``name`` (``torch`` or ``gemel``); ``compiled`` passes functions through compile."""

    def __init__(self, name: str, compiled: bool = False) -> None:
        self.torch = importlib.import_module(name)
        self.nn = importlib.import_module(f"{name}.nn")
        self.F = importlib.import_module(f"{name}.nn.functional")
        self.optim = importlib.import_module(f"{name}.optim")
        self.compile = self.torch.compile if compiled else lambda f: f
        self.whole = compiled and name == "gemel"  # Gemel compiles the whole step, torch its forward pass
        self.torch.manual_seed(0)
        self.cases: dict[str, Callable[[], Run]] = {
            **{f"W2 {dtype} {m}x{k}x{n}": lambda m=m, k=k, n=n, dtype=dtype: self.gemm(m, k, n, dtype)
               for dtype in ("float32", "bfloat16")
               for m, k, n in [*((s, s, s) for s in (128, 256, 512, 1024, 2048)), (1, 4096, 4096), (32, 768, 3072)]},
            "W3 gelu chain": self.gelu_chain, "W3 softmax": self.softmax, "W3 layer norm": self.layer_norm,
            "W4 forward": lambda: self.chain(False), "W4 forward+backward": lambda: self.chain(True),
            "W5 sgd": lambda: self.mlp("sgd"), "W5 adam": lambda: self.mlp("adam"), "W6 cnn": self.cnn,
            **{f"W7 resnet{n} {what}": lambda n=n, what=what: self.resnet(n, what)
               for n in (18, 50) for what in ("infer 1", "infer 8", "train 8")},
            "W8 forward": lambda: self.gpt2(False), "W8 train": lambda: self.gpt2(True),
            "W10 forward": lambda: self.lstm(False), "W10 train": lambda: self.lstm(True),
            **{f"ops {name}": lambda name=name: self.operation(name) for name in NAMES},
        }

    def ready(self, f: Callable[[], Any]) -> Run:
        """Run without gradients and wait for the result (reading a tensor as an array copies nothing)."""
        no_grad = self.torch.no_grad
        bits = self.torch.bfloat16 if self.torch.__name__ == "torch" else None  # torch has no NumPy dtype for it

        def run() -> None:
            with no_grad():
                y = f()
            (y if y.dtype is not bits else y.view(self.torch.int16)).numpy()
        return run

    # --- single operations
    def operation(self, name: str) -> Run:
        f = operations(self.torch, self.F)[name]

        def run() -> None:
            with self.torch.no_grad():
                held = [f() for _ in range(MANY)]
            last = held[-1][-1] if isinstance(held[-1], (tuple, list)) else held[-1]
            last.numpy()
        return run

    # --- W2, W3
    def gemm(self, m: int, k: int, n: int, dtype: str) -> Run:
        d = getattr(self.torch, dtype)
        a, b = self.torch.randn(m, k).to(d), self.torch.randn(k, n).to(d)
        return self.ready(lambda: a @ b)

    def gelu_chain(self) -> Run:
        x = self.torch.randn(4096, 4096)
        a, b, c = (self.torch.randn(4096) for _ in range(3))
        f = self.compile(lambda x, a, b, c: self.F.gelu(x * a + b) * c + x)
        return self.ready(lambda: f(x, a, b, c))

    def softmax(self) -> Run:
        x = self.torch.randn(8192, 1024)
        f = self.compile(lambda x: self.torch.softmax(x, -1))
        return self.ready(lambda: f(x))

    def layer_norm(self) -> Run:
        x, w, b = self.torch.randn(8192, 768), self.torch.randn(768), self.torch.randn(768)
        f = self.compile(lambda x, w, b: self.F.layer_norm(x, (768,), w, b))
        return self.ready(lambda: f(x, w, b))

    # --- W4
    def chain(self, backward: bool) -> Run:
        x = self.torch.ones(4, requires_grad=backward)

        def forward() -> Any:
            y = x
            for _ in range(CHAIN):
                y = y + x
            return y

        def step() -> None:
            x.grad = None
            forward().sum().backward()
            x.grad.numpy()
        return step if backward else self.ready(forward)

    # --- training steps
    def _training(self, model: Any, optimizer: Any, x: Any, loss: Callable[[Any], Any]) -> Callable[[], Any]:
        forward = (lambda x: loss(model(x))) if self.whole else self.compile(lambda x: loss(model(x)))

        def step() -> Any:
            optimizer.zero_grad(set_to_none=True)
            value = forward(x)
            value.backward()
            optimizer.step()
            return value
        return self.compile(step) if self.whole else step

    def _labels(self) -> Any:
        return self.torch.randint(0, 10, (64,))

    def mlp(self, optimizer: str) -> Run:
        nn, y = self.nn, self._labels()
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
        o = (self.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) if optimizer == "sgd" else
             self.optim.Adam(model.parameters(), lr=1e-3))
        step = self._training(model, o, self.torch.randn(64, 1, 28, 28), lambda out: self.F.cross_entropy(out, y))

        def block() -> None:
            value = None
            for _ in range(BLOCK):
                value = step()
            value.item()  # type: ignore[union-attr]
        return block

    def cnn(self) -> Run:
        nn, y = self.nn, self._labels()
        model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                              nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))
        o = self.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        step = self._training(model, o, self.torch.randn(64, 1, 28, 28), lambda out: self.F.cross_entropy(out, y))
        return lambda: step().item()

    def resnet(self, depth: int, what: str) -> Run:
        kind, batch = what.split()
        model = models.resnet(self.nn, depth)
        x = self.torch.randn(int(batch), 3, 224, 224)
        if kind == "infer":
            model.eval()
            f = self.compile(lambda x: model(x))
            return self.ready(lambda: f(x))
        y = self.torch.randint(0, 1000, (int(batch),))
        o = self.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        step = self._training(model, o, x, lambda out: self.F.cross_entropy(out, y))
        return lambda: step().item()

    def gpt2(self, train: bool) -> Run:
        # after a few steps on one batch most probabilities are denormal, which takes some processors ten times as long;
        # TensorFlow and JAX always flush them
        self.torch.set_flush_denormal(True)
        model = models.gpt2(self.torch, self.nn, self.F)
        ids = self.torch.randint(0, 50257, (4, 256))
        if not train:
            f = self.compile(lambda ids: model(ids))
            return self.ready(lambda: f(ids))
        labels = self.torch.randint(0, 50257, (4 * 256,))
        o = self.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, betas=(0.9, 0.95))
        step = self._training(model, o, ids, lambda out: self.F.cross_entropy(out.flatten(0, 1), labels))
        return lambda: step().item()

    def lstm(self, train: bool) -> Run:
        model = self.nn.LSTM(256, 512, batch_first=True)
        x = self.torch.randn(32, 128, 256)
        if not train:
            return self.ready(lambda: model(x)[0])
        o = self.optim.SGD(model.parameters(), lr=0.01)
        step = self._training(model, o, x, lambda out: out[0].square().mean())
        return lambda: step().item()
