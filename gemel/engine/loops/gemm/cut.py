"""How a tiled product is cut into tasks: chunks of vector panels times parts of the scalar panels.

A cut is judged by the time of the thread that has most to do: its tiles, the panels that it packs, and the scalar
operand that each of its chunks streams from beyond the second-level cache. Fewer, equal tasks are best on a quiet
machine; more of them delay less when a thread is disturbed, which the estimate prices as a share of one task.

A part of the scalar operand is read again for every chunk. What all threads read so is to stay in their share of the
last-level cache: parts are small, or *shared*: then each thread has chunks of its own, and all go through the same part
at a time.
"""
from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ...base.target import Target

CHUNK_SHARE = 5 / 8       # of the second-level cache, for a task's vector panels: a block of scalars stays beside them
MOST_NEAR = 2 << 20        # of it that counts: scratch memory would not take what larger ones could
TILES_BYTES = 1 << 20     # unfinished tiles of a task whose k takes several passes
TASK_CYCLES = 4_000       # around a task
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
SHARED = 0.01             # and what it costs that two threads read the same scalars at a time
DISTURBED = 0.2           # of a task's time: what a thread may wait for another, on average; one that comes late
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
        entries: of the batch. v_panels, s_panels: of an entry. vectors: of a whole vector panel.
        v_wide: panels that are whole; the others, spread evenly, have a vector less.
        tile: cycles of a whole tile over all of k.
        pack, pack_here: cycles to pack a vector panel, by a call before and by a task; 0 if it comes packed or is
            read in place.
        s_bytes: of a scalar panel. s_pass: of a scalar panel in one pass. v_bytes: of a packed vector panel in one.
        unfinished: bytes that a tile leaves between passes over k; 0 if one pass does. target: whose caches count.
    """

    entries: int
    v_panels: int
    s_panels: int
    vectors: int
    v_wide: int
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

    def tiles(self, panels: int) -> float:
        """Of the first so many vector panels times one scalar panel, in whole tiles."""
        return panels - panels * (self.v_panels - self.v_wide) // self.v_panels / self.vectors

    def pieces(self, cut: Cut) -> tuple[int, int]:
        """Chunks and parts of an entry."""
        return -(-self.v_panels // cut.chunk), -(-self.s_panels // cut.part)


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


def _tiles_before(w: Work, cut: Cut, threads: int, task: int) -> float:
    """Whole tiles of the tasks before this one: ``place_of`` of the kernel numbers them."""
    chunks, parts = w.pieces(cut)
    entry, rest = divmod(task, chunks * parts)
    group = -(-chunks // threads) if cut.shared else chunks
    first = rest // (group * parts) * group
    size = max(1, min(group, chunks - first))
    part, chunk = divmod(rest - first * parts, size)
    begin, at, end = (w.tiles(c * w.v_panels // chunks) for c in (first, first + chunk, first + size))
    above, below = (p * w.s_panels // parts for p in (part, part + 1))
    return (entry * w.tiles(w.v_panels) + begin) * w.s_panels + (end - begin) * above + (at - begin) * (below - above)


def busiest(w: Work, cut: Cut, threads: int) -> float:
    """Whole tiles of the thread that has most."""
    tasks = w.entries * math.prod(w.pieces(cut))
    borders = [_tiles_before(w, cut, threads, tasks * i // threads) for i in range(threads + 1)]
    return max(end - begin for begin, end in itertools.pairwise(borders))


def _cycles(w: Work, cut: Cut, threads: int, tiles: float) -> float:
    """Of the thread that has most to do, with so many whole tiles; more tiles never take less."""
    chunks, parts = w.pieces(cut)
    tasks = -(-w.entries * chunks * parts // threads)
    products = tiles * w.tile / tasks
    # panels are dealt out evenly: a thread of many tasks has the average, one of a single task may have the most
    chunk, part = (cut.chunk, cut.part) if tasks == 1 else (w.v_panels / chunks, w.s_panels / parts)
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


@functools.lru_cache(4096)
def choose_cut(w: Work, threads: int) -> Cut:
    """The cut with the shortest estimate; one task for a product that is not worth sharing."""
    even = w.entries * w.tiles(w.v_panels) * w.s_panels / threads
    bounds = [(_cycles(w, cut, threads, even), cut) for cut in _cuts(w, threads)]
    best, least = bounds[0][1], math.inf
    for bound, cut in sorted(bounds, key=lambda found: found[0]):
        if bound >= least:
            break
        cycles = _cycles(w, cut, threads, busiest(w, cut, threads))
        if cycles < least:
            best, least = cut, cycles
    return best
