"""``DataLoader``: batches of a dataset, made here or by worker processes."""
from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.context
import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import Any

from ...engine.device import pool
from ...engine.runtime.trace import settle
from ...tensor.random import Generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import Recipe
from .sampler import BatchSampler, RandomSampler, SequentialSampler, draw_seed
from .transport import Receiver
from .worker import End, Failure, Job, work

__all__ = ["DataLoader"]

_GRACE = 2.0  # seconds that a worker has to end by itself
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _Endless:
    """The sampler of a stream, whose samples have no index."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader:
    """Iterates over the batches of a dataset.

    Args:
        dataset: something with ``__getitem__`` and ``__len__``, or an :class:`IterableDataset`.
        batch_size: samples per batch; None: samples one by one, without a batch axis.
        shuffle: a new random order in every epoch. sampler, batch_sampler: an order of your own.
        num_workers: processes that fetch and collate; 0: this process does, when a batch is asked for.
        collate_fn: makes a batch from a list of samples; see :func:`default_collate`.
        pin_memory: accepted; there is no GPU to pin memory for. drop_last: leave an incomplete batch out.
        timeout: seconds to wait for a worker's batch; 0: for ever. worker_init_fn: called with its number in each.
        multiprocessing_context: "fork" (the default where it exists), "spawn", "forkserver", or a context.
        generator: of the order and of the workers' seeds. prefetch_factor: batches ahead per worker, by default 2.
        persistent_workers: keep the workers for the next epoch. in_order: False: batches as they become ready.

    The same generator state gives the same order and the same workers' seeds. An exception in a worker is raised
    here, with the worker's traceback in its message.

    >>> loader = gemel.utils.data.DataLoader(range(10), batch_size=4, drop_last=True)
    >>> [batch.tolist() for batch in loader], len(loader)
    ([[0, 1, 2, 3], [4, 5, 6, 7]], 2)

    torch: ``DataLoader``.
    """

    _ready = False

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Any] | None = None,
                 num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], Any] | None = None,
                 multiprocessing_context: Any = None, generator: Generator | None = None, *,
                 prefetch_factor: int | None = None, persistent_workers: bool = False, pin_memory_device: str = "",
                 in_order: bool = True) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self._stream = isinstance(dataset, IterableDataset)
        _check_sampling(self._stream, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            sampler = (_Endless() if self._stream else RandomSampler(dataset, generator=generator) if shuffle
                       else SequentialSampler(dataset))
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.timeout, self.worker_init_fn = num_workers, timeout, worker_init_fn
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.multiprocessing_context = _context(multiprocessing_context, num_workers)
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self.persistent_workers = persistent_workers
        batched = batch_sampler is not None
        self.collate_fn: Callable[[Any], Any] = collate_fn or (default_collate if batched else default_convert)
        self._iterator: _Workers | None = None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._ready and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def _recipe(self) -> Recipe:
        return Recipe(self.dataset, self._stream, self.batch_sampler is not None, self.collate_fn, self.drop_last)

    def _indices(self) -> Iterator[Any]:
        return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.pin_memory:
            warnings.warn("'pin_memory' argument is set as true but no accelerator is found, then device pinned memory "
                          "won't be used.", stacklevel=2)
        if not self.num_workers:
            return _here(self._recipe(), self._indices())
        if not self.persistent_workers:
            return _Workers(self)
        if self._iterator is None or self._iterator.stopped:
            self._iterator = _Workers(self)
        else:
            self._iterator.restart()
        return self._iterator

    def __len__(self) -> int:
        """Number of batches (of samples, with ``batch_size=None``)."""
        if not self._stream:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing. "
                         f"Received: {num_workers}")
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative. Received: {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("prefetch_factor option could only be specified in multiprocessing. let num_workers > 0 to "
                         "enable multiprocessing, otherwise set prefetch_factor to None.")
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(f"prefetch_factor option should be positive. Received: {prefetch_factor}")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_sampling(stream: bool, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any,
                    drop_last: bool) -> None:
    if stream:
        wrong = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in wrong.items():
            if value is not None:
                raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                                 f"{name}={value}")
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                             "drop_last")
    elif batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


def _context(wanted: Any, num_workers: int) -> Any:
    """The multiprocessing context that was asked for."""
    if wanted is None:
        return None
    if not num_workers:
        raise ValueError("multiprocessing_context can only be used with multi-process loading (num_workers > 0), but "
                         f"got num_workers={num_workers}")
    if isinstance(wanted, str):
        methods = multiprocessing.get_all_start_methods()
        if wanted not in methods:
            raise ValueError("multiprocessing_context option should specify a valid start method in "
                             f"{methods!r}, but got multiprocessing_context={wanted!r}")
        return multiprocessing.get_context(wanted)
    if not isinstance(wanted, multiprocessing.context.BaseContext):
        raise TypeError("multiprocessing_context option should be a valid context object or a string specifying the "
                        f"start method, but got multiprocessing_context={wanted}")
    return wanted


def _here(recipe: Recipe, indices: Iterator[Any]) -> Iterator[Any]:
    """Batches made in this process, when they are asked for."""
    fetch = recipe.start()
    for index in indices:
        try:
            batch = fetch(index)
        except StopIteration:
            if recipe.stream:
                return
            raise
        yield batch


class _Worker:
    """A worker process, seen from the loader."""

    def __init__(self, process: Any, commands: Any, results: Any) -> None:
        self.process, self.commands, self.receiver = process, commands, Receiver(results)
        self.active = True
        self.waiting = 0  # batches that it has been asked for and that have not been used

    def tell(self, kind: str, at: int = 0, argument: Any = None) -> None:
        """Send a command, and the blocks of memory that the worker may use again."""
        free, self.receiver.done = self.receiver.done, []
        self.commands.send((kind, at, argument, free))


class _Workers:
    """The batches of a loader's workers, in the order of the sampler."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.stopped = loader, False
        context = loader.multiprocessing_context or multiprocessing.get_context(
            "fork" if "fork" in multiprocessing.get_all_start_methods() else None)
        settle("the start of a DataLoader's workers")
        forks = context.get_start_method() == "fork"
        if forks:
            pool.rest()  # a fork copies one thread only; the pool starts again with the next plan
        job = Job(loader._recipe(), loader.num_workers, loader.worker_init_fn)
        self.workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _stop, self.workers, os.getpid())
        seed = draw_seed(loader.generator)
        try:
            for number in range(loader.num_workers):
                self._start(number, job, seed, context, forks)
            self._begin()
        except BaseException:
            self.stop()
            raise

    def _start(self, number: int, job: Job, seed: int, context: Any, forks: bool) -> None:
        theirs, commands = context.Pipe(duplex=False)
        results, sender = context.Pipe(duplex=True)
        ours = [commands, results]
        for w in self.workers:
            ours += [w.commands, w.receiver.connection]
        process = context.Process(target=work, args=(number, job, seed, theirs, sender, ours if forks else []),
                                  name=f"gemel-data-{number}", daemon=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
            process.start()
        theirs.close()
        sender.close()
        self.workers.append(_Worker(process, commands, results))

    def _begin(self) -> None:
        """Start an epoch."""
        self.indices = self.loader._indices()
        self.sent, self.turn, self.exhausted = 0, 0, False
        self.outstanding: dict[int, _Worker] = {}
        self.arrived: dict[int, Any] = {}
        self._fill()

    def restart(self) -> None:
        """Start the next epoch with the same workers."""
        while len(self.arrived) < len(self.outstanding):  # of an epoch that was left early
            self._receive()
        seed = draw_seed(self.loader.generator)
        for w in self.workers:
            w.active, w.waiting = True, 0
            w.tell("start", argument=seed)
        self._begin()

    def _fill(self) -> None:
        """Ask for batches ahead."""
        ahead = self.loader.prefetch_factor or 1
        while not self.exhausted:
            ready = [(self.turn + i) % len(self.workers) for i in range(len(self.workers))]
            number = next((n for n in ready if self.workers[n].active and self.workers[n].waiting < ahead), None)
            if number is None:
                return
            try:
                index = next(self.indices)
            except StopIteration:
                self.exhausted = True
                return
            worker = self.workers[number]
            try:
                worker.tell("fetch", self.sent, index)
            except OSError:
                self._died([worker])
            self.outstanding[self.sent] = worker
            worker.waiting += 1
            self.sent += 1
            self.turn = number + 1

    def __iter__(self) -> _Workers:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def __next__(self) -> Any:
        while self.outstanding:
            at = next(iter(self.outstanding if self.loader.in_order else self.arrived), None)
            if at not in self.arrived:
                self._receive()
                continue
            assert at is not None
            batch, worker = self.arrived.pop(at), self.outstanding.pop(at)
            worker.waiting -= 1
            if isinstance(batch, End):
                worker.active = False
            self._fill()
            if isinstance(batch, Failure):
                batch.reraise()
            if not isinstance(batch, End):
                return batch
        if not self.loader.persistent_workers:
            self.stop()
        raise StopIteration

    def _receive(self) -> None:
        """Wait for at least one batch."""
        if self.stopped:
            raise RuntimeError("the workers of this DataLoader iterator have been stopped by an earlier error")
        by_connection = {w.receiver.connection: w for w in self.workers}
        ends = [w.process.sentinel for w in self.workers]
        try:
            ready = connection.wait([*by_connection, *ends], self.loader.timeout or None)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {self.loader.timeout} seconds")
            got = [by_connection[c] for c in ready if c in by_connection]  # type: ignore[index]
            for worker in got:
                at, batch = worker.receiver.receive()
                self.arrived[at] = batch
            if not got:
                self._died([w for w in self.workers if w.process.sentinel in ready])
        except (EOFError, ConnectionResetError):
            self._died([w for w in self.workers if w.receiver.connection in ready])
        except BaseException:  # a message may be half read: Ctrl-C, say
            self.stop()
            raise

    def _died(self, workers: list[_Worker]) -> None:
        for w in workers:
            w.process.join(_GRACE)
        codes = ", ".join(f"{w.process.pid} with exit code {w.process.exitcode}" for w in workers)
        pids = ", ".join(str(w.process.pid) for w in workers)
        self.stop()
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {codes} (a negative code is the "
                           "signal that ended it)") from None

    def stop(self) -> None:
        """End the workers."""
        self.stopped = True
        self.outstanding, self.arrived = {}, {}
        self._finalizer()


def _stop(workers: list[_Worker], owner: int) -> None:
    """End workers that this process has started: politely, then by force."""
    if os.getpid() != owner:  # a fork of the loader's process
        return
    for w in workers:
        try:
            w.tell("stop")
        except (OSError, ValueError):
            w.active = False
        w.commands.close()
        w.receiver.connection.close()
    for w in workers:
        w.process.join(_GRACE)
        if w.process.is_alive():
            w.process.terminate()
            w.process.join(_GRACE)
        if w.process.is_alive():
            w.process.kill()
            w.process.join()
        w.process.close()
    workers.clear()
