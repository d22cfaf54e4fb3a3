"""Settings of torch that scripts make at their beginning: threads, precision, determinism."""
from __future__ import annotations

import warnings
from typing import Any

from ..engine.base.flags import flags
from ..engine.device.pool import cpu_count, flush_denormals
from ..engine.runtime import trace

__all__ = ["are_deterministic_algorithms_enabled", "get_deterministic_debug_mode", "get_float32_matmul_precision",
           "get_num_interop_threads", "get_num_threads", "is_deterministic_algorithms_warn_only_enabled",
           "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal",
           "set_num_interop_threads", "set_num_threads", "use_deterministic_algorithms"]


class _Settings:
    """What has been asked for; results do not depend on any of it."""

    precision = "highest"
    deterministic = False
    warn_only = False


def get_num_threads() -> int:
    """The number of threads that compute. torch: ``get_num_threads``

    >>> gemel.get_num_threads() >= 1
    True
    """
    return cpu_count()


def set_num_threads(n: int) -> None:
    """Compute with ``n`` threads from now on, as the flag ``GEMEL_THREADS`` does; results keep their bits.

    Raises: RuntimeError for ``n`` below 1, TypeError for another type. torch: ``set_num_threads``
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    flags.THREADS = n


def get_num_interop_threads() -> int:
    """1: operations run one after another, each on all threads. torch: ``get_num_interop_threads``

    >>> gemel.get_num_interop_threads()
    1
    """
    return 1


def set_num_interop_threads(n: int) -> None:
    """Accepted: operations run one after another, each on all threads.

    Raises: RuntimeError for ``n`` below 1. torch: ``set_num_interop_threads``
    """
    if not isinstance(n, int) or isinstance(n, bool):
        raise RuntimeError(f"set_num_interop_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` was given last. torch: ``get_float32_matmul_precision``

    >>> gemel.get_float32_matmul_precision()
    'highest'
    """
    return _Settings.precision


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products of float32 matrices are computed in float32 whatever is asked for.

    Args:
        precision: ``"highest"``, ``"high"`` or ``"medium"``; another one is warned about, and ignored.

    torch: ``set_float32_matmul_precision``
    """
    if precision not in ("highest", "high", "medium"):
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the current"
                      f"setFloat32MatmulPrecision call has no effect.", UserWarning, stacklevel=2)
        return
    _Settings.precision = precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: all algorithms are deterministic.

    torch: ``use_deterministic_algorithms``
    """
    _Settings.deterministic, _Settings.warn_only = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What :func:`use_deterministic_algorithms` was given last. torch: ``are_deterministic_algorithms_enabled``

    >>> gemel.are_deterministic_algorithms_enabled()
    False
    """
    return _Settings.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Was ``warn_only`` asked for? torch: ``is_deterministic_algorithms_warn_only_enabled``

    >>> gemel.is_deterministic_algorithms_warn_only_enabled()
    False
    """
    return _Settings.deterministic and _Settings.warn_only


def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """0 or ``"default"``, 1 or ``"warn"``, 2 or ``"error"``: as :func:`use_deterministic_algorithms`.

    Raises: RuntimeError for another value, TypeError for another type. torch: ``set_deterministic_debug_mode``
    """
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    names = ("default", "warn", "error")
    if isinstance(debug_mode, str):
        if debug_mode not in names:
            raise RuntimeError("invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got "
                               f"{debug_mode}")
        debug_mode = names.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode() -> int:
    """What :func:`set_deterministic_debug_mode` was given last. torch: ``get_deterministic_debug_mode``

    >>> gemel.get_deterministic_debug_mode()
    0
    """
    return 0 if not _Settings.deterministic else 1 if _Settings.warn_only else 2


def set_flush_denormal(mode: bool) -> bool:
    """Take denormal numbers, those closer to zero than any normal one, as zeros from now on, or not; True where that
    is done: on x86.

    Some processors compute with them a hundred times as long. Kernels follow this setting whatever other libraries set,
    but not what NumPy and LAPACK compute for Gemel, nor the interpreter.

    >>> tiny = gemel.tensor([1e-38], dtype=gemel.float32)
    >>> float(tiny / 4) > 0
    True

    torch: ``set_flush_denormal``
    """
    trace.settle("set_flush_denormal()")
    return flush_denormals(bool(mode))
