"""Permanent instrument ids, and the symbols each instrument traded under when.

What belongs here: the identity of instruments, dated symbol spans (`symbol_spans.csv`) and how vendors spell symbols.
What does not: who is a member of what (`universes/`), prices, and whether an instrument is still listed.

An id is `<market>:<first symbol>`, the first symbol it traded under since 2010, with `.2`, `.3` … where an earlier
instrument had that symbol. Only instruments that were renamed, or whose symbol has been used twice, need rows in the
CSV; every other symbol is implicitly the id `<market>:<symbol>`. Spans are half-open: `valid_from` is the first day
under the symbol (empty: since before 2010), `valid_to` the first day no longer (empty: still). The spans of one
instrument follow each other without a gap; the end of its last one is when the symbol became free for others.
"""

from trading_pipeline.instruments.spans import Instruments, registry

__all__ = ["Instruments", "registry"]
