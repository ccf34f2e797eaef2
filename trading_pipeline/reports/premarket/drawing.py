"""The small drawings of the premarket page, as SVG: where a price is among its bands, and a value beside zero."""

from __future__ import annotations

from trading_pipeline.reports.charts import BLUE, GREY, INK, VERMILLION

BAND_SIZE = (116, 18)
SIGNED_SIZE = (120, 14)
_REACH = 4.0
"""Sigmas from the mean to either end of the scale; what lies beyond is an arrow at the end."""
_SHADES = ((3, 0.14), (2, 0.18), (1, 0.24))


def band_bar(sigmas: float, traded: bool) -> str:
    """The place of a price on a scale of sigmas, shaded within 3, 2 and 1 of the mean.

    traded: a dot for a price of this morning, a ring for yesterday's close.
    """
    width, height = BAND_SIZE
    sigmas = round(sigmas, 9)
    middle, step, y = width / 2, (width / 2 - 3) / _REACH, height / 2
    parts = [f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false">']
    parts += [
        f'<rect x="{middle - of * step:.1f}" y="4" width="{2 * of * step:.1f}" height="{height - 8}" '
        f'fill="{GREY}" fill-opacity="{shade}"/>'
        for of, shade in _SHADES
    ]
    parts.append(f'<path d="M{middle:.1f} 2V{height - 2}" stroke="{INK}" stroke-width="1"/>')
    colour = VERMILLION if sigmas < 0 else BLUE
    if abs(sigmas) > _REACH:
        tip, back = (width - 1, -7) if sigmas > 0 else (1, 7)
        parts.append(f'<path d="M{tip} {y}l{back} -5v10z" fill="{colour}"/>')
    elif traded:
        parts.append(f'<circle cx="{middle + sigmas * step:.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
    else:
        ring = f'cx="{middle + sigmas * step:.1f}" cy="{y}" r="4"'
        parts.append(f'<circle {ring} fill="none" stroke="{INK}" stroke-width="1.5"/>')
    return "".join([*parts, "</svg>"])


def signed_bar(value: float, most: float) -> str:
    """A value as a bar from zero, to the right where it is positive; `most`: the largest size among its table's."""
    width, height = SIGNED_SIZE
    middle = width / 2
    length = round(min(abs(round(value, 9)) / most, 1.0) * (middle - 2), 1) if most > 0 else 0.0
    start = middle if value >= 0 else middle - length
    colour = BLUE if value >= 0 else VERMILLION
    return (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false">'
        f'<rect x="{start:.1f}" y="3" width="{length:.1f}" height="{height - 6}" fill="{colour}"/>'
        f'<path d="M{middle:.1f} 0V{height}" stroke="{INK}" stroke-width="1"/></svg>'
    )
