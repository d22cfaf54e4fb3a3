"""How a tiled product is cut into tasks: chunks of vector panels times parts of the scalar panels.

A cut is judged by the time of the thread that has most to do: its tiles, the panels that it packs, and the scalar
operand that each of its chunks streams from beyond the second-level cache. Fewer, equal tasks are best on a quiet
machine; more of them delay less when a thread is disturbed, which the estimate prices as a share of one task.

A part of the scalar operand is read again for every chunk. What all threads read so is to stay in their share of the
last-level cache: parts are small, or *shared*: then each thread has chunks of its own, and all go through the same part
at a time.
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...base.target import Target

CHUNK_SHARE = 5 / 8       # of the second-level cache, for a task's vector panels: a block of scalars stays beside them
MOST_NEAR = 2 << 20        # of it that counts: scratch memory would not take what larger ones could
TILES_BYTES = 1 << 20     # unfinished tiles of a task whose k takes several passes
TASK_CYCLES = 2_000       # around a task
CALL_CYCLES = 6_000       # around a call that packs first: it has to end before the product begins
# bytes a cycle of an operand that comes from beyond the second-level cache, in the time of the products alone
SCALAR_STREAM = 16.0      # in rows, as far as they are not packed, when they are read first
VECTOR_STREAM = 32.0      # in packed panels
HANDED_MESH = 2.0         # in panels that another thread has just packed, on a mesh: they are in its cache alone
# bytes a cycle of what is read again, for every chunk, where the last-level cache keeps all of it (a mesh does not give
# more), and none of it; it hides behind products that take longer
AGAIN_NEAR, AGAIN_MESH, AGAIN_FAR = 32.0, 8.0, 9.0
KEPT_BYTES = 8 << 20, 20 << 20  # how much it keeps whole, and of how much it keeps nothing: other programs use it, too
ROOMY_SHARE = 1 / 4       # several vector panels up to this size leave the second-level cache to scalars
CROWDED = 0.03            # of the time of the products: what as many as there may be cost
SHARED = 0.015            # and what it costs that two threads read the same scalars at a time
DISTURBED = 0.12          # of a task's time: what a thread may wait for another, on average; one that comes late
                          # to a launched plan finds whole tasks taken
MOST = 8                  # tasks of a thread, at most
LEAST = 4                 # chunks of a thread, at least, where parts are shared


@dataclass(frozen=True)
class Cut:
    """``chunk`` vector panels by ``part`` scalar panels a task.

    Args:
        packed: a call before packs the vector operand. shared: all threads work on the same part at a time.
    """

    chunk: int
    part: int
    packed: bool
    shared: bool = False


@dataclass(frozen=True)
class Work:
    """What is cut.

    Args:
        entries: of the batch. v_panels, s_panels: of an entry. tile: cycles of a tile over all of k.
        pack, pack_here: cycles to pack a vector panel, by a call before and by a task; 0 if it comes packed or is
            read in place.
        s_bytes: of a scalar panel. s_pass: of a scalar panel in one pass. v_bytes: of a packed vector panel in one.
        unfinished: bytes that a tile leaves between passes over k; 0 if one pass does. target: whose caches count.
    """

    entries: int
    v_panels: int
    s_panels: int
    tile: float
    pack: float
    pack_here: float
    s_bytes: int
    s_pass: int
    v_bytes: int
    unfinished: int
    target: Target

    @property
    def near(self) -> int:
        """Bytes of the second-level cache that count."""
        return min(self.target.l2_bytes, MOST_NEAR)


def _sizes(panels: int, most: int) -> list[int]:
    """Sizes of pieces worth looking at."""
    return sorted({-(-panels // n) for n in range(1, min(panels, most) + 1)})


def _cuts(w: Work, threads: int) -> Iterator[Cut]:
    most = max(1, -(-MOST * threads // w.entries))
    for chunk in _sizes(w.v_panels, max(most, 2 * math.ceil(w.v_panels * w.v_bytes / (ROOMY_SHARE * w.near)))):
        for part in _sizes(w.s_panels, max(most, -(-w.s_panels * chunk * w.unfinished // TILES_BYTES))):
            if chunk > 1 and part > 1 and chunk * part * w.unfinished > TILES_BYTES:
                continue
            if chunk > 1 and chunk * w.v_bytes > CHUNK_SHARE * w.near:
                continue
            shares = -(-w.v_panels // chunk) >= LEAST * threads > LEAST and part < w.s_panels
            for shared in (False, True) if shares else (False,):
                yield Cut(chunk, part, False, shared)
                if w.pack:
                    yield Cut(chunk, part, True, shared)


def _cycles(w: Work, cut: Cut, threads: int) -> float:
    chunks, parts = -(-w.v_panels // cut.chunk), -(-w.s_panels // cut.part)
    tasks = -(-w.entries * chunks * parts // threads)  # of the busiest thread
    # panels are dealt out evenly: a thread of many tasks has the average, one of a single task may have the most, and
    # so has one of whole chunks
    chunk = cut.chunk if tasks == 1 else w.v_panels / chunks
    if parts * w.entries == 1:
        chunk = max(chunk, min(-(-w.v_panels // threads), w.v_panels / threads + cut.chunk) / tasks)
    part = cut.part if tasks == 1 else w.s_panels / parts
    products = chunk * part * w.tile
    task = products + TASK_CYCLES
    before = 0.0
    if cut.packed:
        before = w.entries * -(-w.v_panels // threads) * w.pack + CALL_CYCLES * (threads > 1)
        task += chunk * w.v_bytes / VECTOR_STREAM
        if w.target.has_mesh:
            read = min(tasks * cut.chunk, w.entries * w.v_panels) * w.v_bytes
            before += min(read * (threads - 1) / threads, w.near) / HANDED_MESH
    else:
        task += chunk * w.pack_here
    if cut.chunk > 1:
        crowd = (cut.chunk * w.v_bytes / w.near - ROOMY_SHARE) / (CHUNK_SHARE - ROOMY_SHARE)
        task += CROWDED * max(0.0, crowd) * products
    if cut.shared:
        task += SHARED * products
    all_read = cut.part * w.s_pass * (1 if cut.shared else min(threads, w.entries * parts))
    lost = min(1.0, max(0.0, (all_read - KEPT_BYTES[0]) / (KEPT_BYTES[1] - KEPT_BYTES[0])))
    again = part * w.s_bytes * ((1 - lost) / (AGAIN_MESH if w.target.has_mesh else AGAIN_NEAR) + lost / AGAIN_FAR)
    task += part * w.s_bytes / SCALAR_STREAM / chunks + again * again / (again + products) * (1 - 1 / chunks)
    return before + tasks * task + (DISTURBED * task if threads > 1 else 0.0)


def choose_cut(w: Work, threads: int) -> Cut:
    """The cut with the shortest estimate; one task for a product that is not worth sharing."""
    return min(_cuts(w, threads), key=lambda cut: _cycles(w, cut, threads))
