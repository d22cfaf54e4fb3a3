"""A worker process: takes indices, sends batches."""
from __future__ import annotations

import os
import queue
import random
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.base.flags import flags
from ...tensor.random import manual_seed
from .fetch import Recipe
from .transport import Sender

__all__ = ["WorkerInfo", "get_worker_info"]

_PATIENCE = 5.0  # seconds between looks at whether the loader's process still lives


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker knows of itself. torch: ``WorkerInfo``.

    Attributes:
        id: 0 to ``num_workers`` - 1. seed: of Python's and Gemel's random numbers. dataset: this worker's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a loader: who it is; elsewhere None. torch: ``get_worker_info``."""
    return _info


class _Text(str):
    """A message that shows its lines where only its ``repr`` is printed (``KeyError``)."""

    def __repr__(self) -> str:
        return str(self)


class Failure:
    """An exception of a worker, with its traceback as text."""

    def __init__(self, error: BaseException, where: str, kind: type | None = None) -> None:
        # a StopIteration would look like the end of the batches
        self.kind = RuntimeError if isinstance(error, StopIteration) else kind or type(error)
        self.where = where
        self.text = "".join(traceback.format_exception(error))

    def reraise(self) -> None:
        """Raise it in this process."""
        text = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        try:
            error = self.kind(_Text(text) if issubclass(self.kind, KeyError) else text)
        except Exception:  # its constructor takes other arguments
            error = RuntimeError(text)
        raise error


class End:
    """The answer of a worker whose part of a stream is at its end."""


@dataclass(frozen=True)
class Job:
    """What all workers of a loader share."""

    recipe: Recipe
    num_workers: int
    init: Callable[[int], Any] | None


def _seed(number: int, base: int) -> int:
    """Seed the random numbers of this process."""
    seed = (base + number) & ((1 << 63) - 1)
    random.seed(seed)
    manual_seed(seed)
    np.random.seed(np.random.SeedSequence([base, number]).generate_state(4))
    return seed


def _listen(commands: Any, parent: int, inbox: queue.SimpleQueue) -> None:
    """Put commands into ``inbox``, whatever the worker does meanwhile; None when the loader is gone."""
    try:
        while True:
            while not commands.poll(_PATIENCE):
                if os.getppid() != parent:
                    raise EOFError
            inbox.put(commands.recv())
    except (EOFError, OSError):
        inbox.put(None)


def work(number: int, job: Job, base_seed: int, commands: Any, results: Any, inherited: list) -> None:
    """The worker's main function; returns when the loader says so, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's to handle
    for connection in inherited:
        connection.close()
    flags.THREADS, flags.HELPERS = 1, 0
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands, os.getppid(), inbox), daemon=True).start()
    try:
        _serve(number, job, base_seed, inbox, Sender(results))
    except (BrokenPipeError, ConnectionResetError):
        return  # the loader does not want the rest


def _serve(number: int, job: Job, base_seed: int, inbox: queue.SimpleQueue, sender: Sender) -> None:
    global _info
    where = f"in DataLoader worker process {number}"
    failure: Failure | None = None
    fetch: Any = None
    try:
        _info = WorkerInfo(number, job.num_workers, _seed(number, base_seed), job.recipe.dataset)
        if job.init is not None:
            job.init(number)
        fetch = job.recipe.start()
    except Exception as error:
        failure = Failure(error, where)
    ended = False
    while (command := inbox.get()) is not None:
        kind, at, argument, free = command
        sender.free += free
        if kind == "stop":
            return
        if kind == "start":
            _info = WorkerInfo(number, job.num_workers, _seed(number, argument), job.recipe.dataset)
            ended = False
            try:
                fetch, failure = job.recipe.start(), None
            except Exception as error:
                failure = Failure(error, where)
            continue
        answer: Any = End() if ended else failure
        if failure is not None:
            failure, ended = None, True
        if answer is None:
            try:
                answer = fetch(argument)
            except StopIteration as error:
                answer = End() if job.recipe.stream else Failure(error, where)
                ended = job.recipe.stream
            except Exception as error:
                answer = Failure(error, where)
        _send(sender, at, answer, where)


def _send(sender: Sender, at: int, answer: Any, where: str) -> None:
    try:
        sender.send((at, answer))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # it can't be pickled
        if isinstance(answer, Failure):
            answer.kind = RuntimeError
            sender.send((at, answer))
        else:
            sender.send((at, Failure(error, where, RuntimeError)))
