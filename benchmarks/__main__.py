"""Gemel beside its peers: ``python -m benchmarks [W1 W2 ...] [--rounds N] [--seconds S]``.

A case can be named alone, and patterns name several: ``"W2 float32 *"``.

Each framework runs in a process of its own, same shapes, same seeds. Every round times each of them once, one after
the other; what is printed is the median over the rounds, and the median of the ratio to Gemel within a round
(above 1: Gemel is faster). A framework that is not installed is left out, and said so. ``torch tuned`` keeps freed
memory mapped (glibc's malloc settings): large tensors are bound by page faults otherwise.
"""
from __future__ import annotations

import argparse
import fnmatch
import functools
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

from .programs.operations import MANY, NAMES

TUNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
#: label -> (framework for the worker, package that it needs, environment)
FRAMEWORKS = {
    "gemel": ("gemel", "gemel", {}),
    "gemel.compile": ("gemel.compile", "gemel", {}),
    "torch": ("torch", "torch", {}),
    "torch tuned": ("torch", "torch", TUNED),
    "torch.compile": ("torch.compile", "torch", TUNED),
    "jax jit": ("jax", "jax", {"JAX_PLATFORMS": "cpu"}),
    "tf.function": ("tf", "tensorflow", {"TF_CPP_MIN_LOG_LEVEL": "3", **TUNED}),
    "tf xla": ("tf.xla", "tensorflow", {"TF_CPP_MIN_LOG_LEVEL": "3", **TUNED}),
}
SQUARES = (128, 256, 512, 1024, 2048)
#: workload -> its cases: (name, operations that one run does in units of the case, unit)
WORKLOADS = {
    "W2": [*((f"W2 {d} {m}x{k}x{n}", 2e-9 * m * k * n, "GFLOP/s") for d in ("float32", "bfloat16")
             for m, k, n in [*((s, s, s) for s in SQUARES), (1, 4096, 4096), (32, 768, 3072)])],
    "W3": [(f"W3 {name}", 1.0, "ms") for name in ("gelu chain", "softmax", "layer norm")],
    "W4": [(f"W4 {name}", 1000.0, "us/op") for name in ("forward", "forward+backward")],
    "W5": [(f"W5 {name}", 50.0, "us/step") for name in ("sgd", "adam")],
    "W6": [("W6 cnn", 1.0, "ms")],
    "W7": [(f"W7 resnet{n} {what}", 1.0, "ms") for n in (18, 50) for what in ("infer 1", "infer 8", "train 8")],
    "W8": [(f"W8 {name}", 1.0, "ms") for name in ("forward", "train")],
    "W10": [(f"W10 {name}", 1.0, "ms") for name in ("forward", "train")],
    "ops": [(f"ops {name}", float(MANY), "us/op") for name in NAMES],
}


#: workloads whose kernels are listed
WITH_KERNELS = ("W6", "W7", "W8", "W10")


class Worker:
    """A framework's process."""

    def __init__(self, label: str) -> None:
        framework, _, env = FRAMEWORKS[label]
        self.label = label
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.worker", framework], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **env})

    def ask(self, **request):
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.label} ended while it worked on {request}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def figure(seconds: float, work: float, unit: str) -> float:
    """Seconds of one run in the case's unit."""
    return work / seconds if unit == "GFLOP/s" else seconds / work * (1e3 if unit == "ms" else 1e6)


def compare(case: str, work: float, unit: str, labels: list[str], rounds: int, budget: float) -> None:
    """Print one case: fresh processes, rounds interleaved."""
    workers, repeats, first = {}, {}, {}
    for label in labels:
        worker = Worker(label)
        seconds = worker.ask(case=case)
        if seconds is None:
            worker.close()
            continue
        first[label] = seconds
        warm = worker.ask(run=4) / 4
        time.sleep(0.3)  # plans that were requested in the background are ready
        warm = min(warm, worker.ask(run=2) / 2)
        workers[label], repeats[label] = worker, max(1, int(budget / rounds / max(warm, 1e-6)))
    times: dict[str, list[float]] = {label: [] for label in workers}
    for _ in range(rounds):
        for label, worker in workers.items():
            time.sleep(0.02)
            times[label].append(worker.ask(run=repeats[label]) / repeats[label])
    print(f"\n{case}")
    for label, worker in workers.items():
        ratio = statistics.median(t / g for t, g in zip(times[label], times["gemel"], strict=True))
        print(f"  {label:14s} {figure(statistics.median(times[label]), work, unit):10.2f} {unit:8s} "
              f"x{ratio:6.2f}   first {first[label]:7.3f} s   peak {worker.ask(memory=1):7.0f} MiB", flush=True)
    if case.split()[0] in WITH_KERNELS:
        kernels(workers["gemel"])
    for worker in workers.values():
        worker.close()


def kernels(worker: Worker) -> None:
    """Print a table of the kernels: time, rates, and the share of what the machine could do, in operations or bytes."""
    rows = worker.ask(profile=3)
    operations, traffic = limits()
    total = sum(seconds for _, _, seconds, _, _ in rows)
    print(f"  of {operations / 1e9:.0f} GFLOP/s and {traffic / 1e9:.1f} GB/s that the machine reaches in f32:")
    print(f"  {'kernel':64s} {'calls':>6s} {'ms':>8s} {'share':>6s} {'GFLOP/s':>8s} {'GB/s':>6s} {'of limit':>8s}")
    for name, calls, seconds, flops, nbytes in rows:
        if seconds < total / 200:
            continue
        reached = max(flops / seconds / operations, nbytes / seconds / traffic)
        print(f"  {name:64.64s} {calls:6.0f} {seconds * 1e3:8.3f} {seconds / total:6.1%} {flops / seconds / 1e9:8.1f} "
              f"{nbytes / seconds / 1e9:6.1f} {reached:8.0%}")


@functools.cache
def limits() -> tuple[float, float]:
    """Multiply-adds in registers (operations a second), and memory traffic (bytes a second), of all threads."""
    from .common import fma_limit, memory_limit
    threads = len(os.sched_getaffinity(0))
    run, operations = fma_limit(threads)
    return max(operations * 3 / run(3) for _ in range(5)), memory_limit(threads)


def import_times(labels: list[str], rounds: int) -> None:
    """W1: wall time of ``python -c 'import X'``, interleaved, and the installed size with dependencies."""
    modules = {label: FRAMEWORKS[label][1] for label in labels if label in ("gemel", "torch", "jax jit", "tf.function")}
    times: dict[str, list[float]] = {label: [] for label in modules}
    for _ in range(rounds + 1):
        for label, module in modules.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
            times[label].append(time.perf_counter() - start)
    print("\nW1 import")
    for label, module in modules.items():
        mine = statistics.median(times[label][1:])
        print(f"  {label:14s} {mine:10.3f} s   x{mine / statistics.median(times['gemel'][1:]):6.2f}   "
              f"{installed_bytes(module) / 2**20:7.0f} MiB installed, with what it needs")


def installed_bytes(package: str) -> int:
    """Bytes of a distribution and of everything that it requires."""
    waiting, seen, total = [package], set(), 0
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in found.files or ():
            path = found.locate_file(file)
            total += os.path.getsize(path) if os.path.isfile(path) else 0
        for requirement in found.requires or ():
            head, _, condition = requirement.partition(";")
            if "extra" not in condition:
                waiting.append(head.split()[0].split("[")[0].rstrip("<>=!~0123456789.,()"))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=["W1", "W2", "W3", "W4", "W5", "W6"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each framework and case")
    parser.add_argument("--only", help="frameworks, comma-separated")
    arguments = parser.parse_args()
    labels = []
    for label, (_, package, _) in FRAMEWORKS.items():
        if arguments.only and label not in ("gemel", *arguments.only.split(",")):
            continue
        if importlib.util.find_spec(package) is None:
            print(f"{label}: {package} is not installed (pip install -e '.[bench]')")
        else:
            labels.append(label)
    for workload in arguments.workloads:
        if workload == "W1":
            import_times(labels, arguments.rounds)
            continue
        cases = [c for key, found in WORKLOADS.items() for c in found
                 if workload == key or fnmatch.fnmatchcase(c[0], workload)]
        if not cases:
            parser.error(f"unknown workload {workload!r}; known: W1, {', '.join(WORKLOADS)} and their cases")
        for case in cases:
            compare(*case, labels, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
