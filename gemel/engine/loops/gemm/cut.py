"""How a tiled product is cut into tasks: chunks of vector panels times parts of the scalar panels.

A cut is judged by the time of the thread that has most to do: its tiles, the panels that it packs, and the scalar
operand that each of its chunks streams from beyond the second-level cache. Fewer, equal tasks are best on a quiet
machine; more of them delay less when a thread is disturbed, which the estimate prices as a share of one task.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_BYTES = 640 << 10   # vector panels of a task: they stay in the second-level cache beside a block of scalars
TILES_BYTES = 1 << 20     # unfinished tiles of a task whose k takes several passes
TASK_CYCLES = 2_000       # around a task
CALL_CYCLES = 6_000       # around a call that packs first: it has to end before the product begins
# bytes a cycle of an operand that comes from beyond the second-level cache, in the time of the products alone
SCALAR_STREAM = 16.0      # in rows, as far as they are not packed
VECTOR_STREAM = 32.0      # in packed panels
DISTURBED = 0.04          # of a task's time: what a thread may wait for another, on average
MOST = 8                  # tasks of a thread, at most


@dataclass(frozen=True)
class Cut:
    """``chunk`` vector panels by ``part`` scalar panels a task; ``packed``: a call before packs the vector operand."""

    chunk: int
    part: int
    packed: bool


@dataclass(frozen=True)
class Work:
    """What is cut.

    Args:
        entries: of the batch. v_panels, s_panels: of an entry. tile: cycles of a tile over all of k.
        pack, pack_here: cycles to pack a vector panel, by a call before and by a task; 0 if it comes packed or is
            read in place.
        s_bytes: of a scalar panel. v_bytes: of a packed vector panel during one pass.
        unfinished: bytes that a tile leaves between passes over k; 0 if one pass does.
    """

    entries: int
    v_panels: int
    s_panels: int
    tile: float
    pack: float
    pack_here: float
    s_bytes: int
    v_bytes: int
    unfinished: int


def _sizes(panels: int, most: int) -> list[int]:
    """Sizes of pieces worth looking at."""
    return sorted({-(-panels // n) for n in range(1, min(panels, most) + 1)})


def _cuts(w: Work, threads: int) -> Iterator[Cut]:
    most = max(1, -(-MOST * threads // w.entries))
    for chunk in _sizes(w.v_panels, max(most, 2 * -(-w.v_panels * w.v_bytes // CHUNK_BYTES))):
        for part in _sizes(w.s_panels, max(most, -(-w.s_panels * chunk * w.unfinished // TILES_BYTES))):
            if chunk > 1 and part > 1 and chunk * part * w.unfinished > TILES_BYTES:
                continue
            if chunk > 1 and chunk * w.v_bytes > CHUNK_BYTES:
                continue
            yield Cut(chunk, part, False)
            if w.pack:
                yield Cut(chunk, part, True)


def _cycles(w: Work, cut: Cut, threads: int) -> float:
    chunks, parts = -(-w.v_panels // cut.chunk), -(-w.s_panels // cut.part)
    tasks = -(-w.entries * chunks * parts // threads)  # of the busiest thread
    # panels are dealt out evenly: a thread of many tasks has the average, one of a single task may have the most
    chunk = cut.chunk if tasks == 1 else w.v_panels / chunks
    part = cut.part if tasks == 1 else w.s_panels / parts
    task = chunk * part * w.tile + TASK_CYCLES
    before = 0.0
    if cut.packed:
        before = w.entries * -(-w.v_panels // threads) * w.pack + CALL_CYCLES * (threads > 1)
        task += chunk * w.v_bytes / VECTOR_STREAM
    else:
        task += chunk * w.pack_here
    task += part * w.s_bytes / SCALAR_STREAM
    return before + tasks * task + (DISTURBED * task if threads > 1 else 0.0)


def choose_cut(w: Work, threads: int) -> Cut:
    """The cut with the shortest estimate; one task for a product that is not worth sharing."""
    return min(_cuts(w, threads), key=lambda cut: _cycles(w, cut, threads))
