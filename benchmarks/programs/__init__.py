"""The workloads as programs of each framework: ``CASES[name]() -> run``; ``run()`` ends when its result is there."""
