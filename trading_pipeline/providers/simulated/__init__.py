"""A deterministic market with known answers, behind the same protocol as the real providers.

`SimulatedProvider` says what a provider would say; `Truth` publishes what was planted. No finder may import this
package: it is the examiner.
"""

from trading_pipeline.providers.simulated.provider import SimulatedProvider
from trading_pipeline.providers.simulated.truth import Truth

__all__ = ["SimulatedProvider", "Truth"]
