"""How the kernels are compiled.

What belongs here: the one decorator of every kernel. What does not: any kernel.

A kernel calls no kernel of another file: numba's cache knows when the file of a function has changed, but not the files
of what it calls, and would go on running machine code that was made from the old ones.

Kernels hold no lock of the interpreter (`nogil`) and start no threads. The engine spreads instruments over threads of
its own: numba's `parallel=True` would leave the thread count a setting of the whole process, end the process where two
threads sweep at once on its default threading layer, and give no place to report progress from.

Floating-point arithmetic is as written (no `fastmath`): sums keep their order, NaN compares as false.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """`function` as machine code, compiled at its first call and kept beside the module for the next process.

    Where that folder cannot be written, numba keeps it in the user's cache folder or in NUMBA_CACHE_DIR. Where none of
    them can be written either, it is compiled anew in each process.
    """
    try:
        made: Any = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError as error:
        if "cache" not in str(error):
            raise
        made = numba.njit(function, nogil=True, error_model="numpy")
    return cast(Kernel, made)
