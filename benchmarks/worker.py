"""A framework in a process of its own: reads one JSON request a line, answers with one JSON line.

    python -m benchmarks.worker gemel|gemel.compile|torch|torch.compile|jax|tf|tf.xla

Requests: ``{"case": name}`` prepares a workload and runs it once (answer: seconds, or null where this framework
has no such program); ``{"run": n}`` runs it n times (answer: seconds); ``{"memory": 1}``: peak resident MiB;
``{"profile": n}`` (Gemel alone): the kernels of n runs (answer: name, calls, seconds, operations and bytes of each).
"""
from __future__ import annotations

import importlib
import json
import resource
import sys
import time


def programs(framework: str):
    """The workloads of a framework."""
    if framework == "jax":
        return importlib.import_module("benchmarks.programs.jax_jit").Programs()
    name, _, compiled = framework.partition(".")
    if name == "tf":
        return importlib.import_module("benchmarks.programs.tf_function").Programs(bool(compiled))
    return importlib.import_module("benchmarks.programs.torch_like").Programs(name, bool(compiled))


def profile(run, n: int) -> list[tuple]:
    """The kernels of ``n`` runs, the one that takes longest first."""
    import gemel
    with gemel.debug.profile() as seen:
        for _ in range(n):
            run()
    return [(f"{r.name} {r.label}".strip(), r.calls / n, r.seconds / n, r.flops / n, r.nbytes / n) for r in seen.rows]


def peak() -> float:
    """Peak resident MiB. (A process inherits ``ru_maxrss`` from the one that started it.)"""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    cases = programs(sys.argv[1]).cases
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        if "case" in request:
            make = cases.get(request["case"])
            run = make() if make else None
            if run is not None:
                run()
            answer = time.perf_counter() - start if run else None
        elif "run" in request:
            assert run is not None
            for _ in range(request["run"]):
                run()
            answer = time.perf_counter() - start
        elif "profile" in request:
            answer = profile(run, request["profile"])
        else:
            answer = peak()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
