"""Train a small network on MNIST, test it, save it, load it back, and look at what it sees.

    python examples/mnist.py                 the network of two linear layers
    python examples/mnist.py --cnn           two convolutions
    python examples/mnist.py --download      fetch the full training set first

The network and the loop are PyTorch code: only the import lines say Gemel.
"""
from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import gemel as torch
import gemel.nn as nn
import mnist_data

console = Console()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()        # (N,1,28,28) -> (N,784)
        self.fc1 = nn.Linear(784, 256)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(256, 10)
    def forward(self, x):
        return self.fc2(self.relu(self.fc1(self.flatten(x))))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(),      # (N,32,26,26)
            nn.Conv2d(32, 64, 3), nn.ReLU(),     # (N,64,24,24)
            nn.MaxPool2d(2), nn.Dropout(0.25))   # (N,64,12,12)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


def accuracy(model, images, labels, batch=1000):
    """Share of the images that the model classifies right."""
    model.eval()
    with torch.no_grad():
        right = sum((model(images[i:i + batch]).argmax(1) == labels[i:i + batch]).sum()
                    for i in range(0, len(images), batch))
    return right.item() / len(images)


def train(model, digits, epochs, batch, lr):
    """Adam with a cosine schedule; a table grows by a line an epoch."""
    images, labels = digits.train_images, digits.train_labels
    n = len(images)
    steps = n // batch
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    loss_fn = nn.CrossEntropyLoss()
    table = Table("epoch", "training loss", "test accuracy", "images/s", box=None, pad_edge=False)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("loss {task.fields[loss]:.4f}"), console=console)
    with Live(Group(table, bar), console=console, refresh_per_second=8):
        for epoch in range(epochs):
            task = bar.add_task(f"epoch {epoch + 1}", total=steps, loss=float("nan"))
            order = torch.randperm(n)
            start, total = time.perf_counter(), torch.zeros(())
            model.train()
            for step in range(steps):
                rows = order[step * batch:(step + 1) * batch]
                optimizer.zero_grad()
                loss = loss_fn(model(images[rows]), labels[rows])
                loss.backward()
                optimizer.step()
                scheduler.step()
                total += loss.detach()
                if step % 50 == 49 or step == steps - 1:
                    bar.update(task, completed=step + 1, loss=(total / (step + 1)).item())
            seconds = time.perf_counter() - start
            right = accuracy(model, digits.test_images, digits.test_labels)
            table.add_row(str(epoch + 1), f"{total.item() / steps:.4f}", f"{right:.2%}",
                          f"{steps * batch / seconds:,.0f}")
            bar.remove_task(task)


def picture(image):
    """An image (28, 28) in [0, 1] as 14 lines of text, two pixels to a character."""
    rows = (image * 255).round().int().tolist()
    text = Text()
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({top},{top},{top}) on rgb({bottom},{bottom},{bottom})")
        text.append("\n")
    return text


def show(model, images, labels):
    """Images side by side, as many as fit, each with what the model says of it."""
    count = max(1, (console.width + 2) // 31)
    images, labels = images[:count], labels[:count]
    with torch.no_grad():
        probabilities = torch.softmax(model(images), dim=1)
    confidence, guess = probabilities.max(dim=1)
    table = Table.grid(padding=(0, 2))
    table.add_row(*[picture(image[0]) for image in images])
    table.add_row(*[Text(f"{g} ({c:.0%})" + ("" if g == want else f", is {want}"),
                         style="green" if g == want else "red", justify="center")
                    for g, c, want in zip(guess.tolist(), confidence.tolist(), labels.tolist(), strict=True)])
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description="Train on MNIST with Gemel.")
    parser.add_argument("--cnn", action="store_true", help="a convolutional network instead of the linear layers")
    parser.add_argument("--epochs", type=int, help="default 10, or 6 with --cnn")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--data", help="folder of the full MNIST set")
    parser.add_argument("--download", action="store_true", help="fetch the full set")
    parser.add_argument("--save", type=Path, help="where the trained weights go (default: a temporary file)")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    digits = mnist_data.load(arguments.data, arguments.download)
    console.print(f"Training on {digits.source}; testing on {len(digits.test_images):,} images.")
    model = ConvNet() if arguments.cnn else Net()
    console.print(str(model), f"\n{sum(p.numel() for p in model.parameters()):,} parameters\n", highlight=False)
    train(model, digits, arguments.epochs or (6 if arguments.cnn else 10), arguments.batch, arguments.lr)

    path = arguments.save or Path(tempfile.mkdtemp()) / "mnist.safetensors"
    torch.save(model.state_dict(), path)
    loaded = ConvNet() if arguments.cnn else Net()
    loaded.load_state_dict(torch.load(path))
    right = accuracy(loaded, digits.test_images, digits.test_labels)
    console.print(f"\nSaved to {path} ({path.stat().st_size / 1024:,.0f} KiB) and loaded back. Some test digits:\n")
    show(loaded, digits.test_images[:6], digits.test_labels[:6])
    console.print(f"\n[bold]Test accuracy: {right:.2%}[/bold]")


if __name__ == "__main__":
    main()
