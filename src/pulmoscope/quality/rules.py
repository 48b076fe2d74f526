"""What can be said of an X-ray's quality without its diagnosis.

Thresholds were set on real radiographs and on copies of them that were turned, tilted, inverted, darkened, brightened
or cut (every second validation radiograph of the four-class set, 350; 280 radiographs of two other sources; 125
radiographs with lung masks; copies of a quarter of them), with the lung finder that comes with the package. Undamaged
radiographs that a rule flags, in per cent of the three sets (refused + warned of where a rule does both):

==============  ========================  =========================================================
rule            flagged wrongly, %        damaged copies found, %
==============  ========================  =========================================================
underexposed    0.3 + 0.6, 0, 0           darkened to 0.3: all refused; to 0.5: 2, 3, 0 + 85, 79, 78
overexposed     0, 0, 0                   brightened 2-fold: 97, 97, 100 refused; 1.5-fold: 55, 67, 100 + 36, 19, 0
low contrast    0, 0, 0                   compressed to a tenth of the range: 100
turned 90°      0, 0.7, 0                 98, 89, 100 (and 2, 11, 0 as inverted)
upside down     0.9, 0, 0                 88, 97, 100
tilted          0.3, 0.7, 0               30°: 93, 94, 98; 25°: 88, 86, 92; 20°: 48, 54, 28; 15°: 11, 24, 0
inverted        0.3, 0, 0                 95, 83, 100 (and 5, 17, 0 as turned)
no lungs        0.3, 0, 0                 left half of the image: 65, 54, 66 (most others as inverted)
cut off         0.3, 0, 0                 upper half of the image: 94, 86, 97
torn            1.0, 0, 0                 bits of a JPEG flipped, not seen in decoding, much changed: 22 of 24
==============  ========================  =========================================================

Without the last rule (667 training, validation and test radiographs of the first set) 2.0, 1.4 and 0 % of undamaged
radiographs were refused in all and 0.9, 0 and 0 % warned of; no rule refuses more than 1.05 %. The limits were set on
these very radiographs (of `torn` also the 24 damaged ones), so the rates flatter the rules.

The four rows on how a radiograph lies (turned, upside down, tilted, inverted) hold where a model has no view network.
Where it has one, that decides instead, more surely and with fewer false alarms; ``quality.pixels`` finds blur and noise
either way. Both are measured in docs/image-checks.md, on radiographs that set no limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from pulmoscope.core.order import percentiles
from pulmoscope.core.synthetic import SYNTHETIC_SOURCE
from pulmoscope.core.types import Flag, FlagLevel, FloatArray, Quality, Scan, Subject
from pulmoscope.preprocess.views import View
from pulmoscope.quality import pixels as damage
from pulmoscope.quality import views
from pulmoscope.quality.pixels import in_percent
from pulmoscope.segment.xray_lungs import LEAST_SHARE, lung_box

DARK, TOO_DARK = 0.45, 0.30
"""A radiograph whose 95th percentile is below this is underexposed, or too much so for a prediction (99 %: 0.50)."""
SATURATED, MOST_SATURATED, TOO_SATURATED = 0.995, 0.15, 0.30
"""A radiograph with more of its pixels at or above ``SATURATED`` is overexposed, or too much so (radiographs: 0.06)."""
LEAST_SPREAD = 0.2
"""Least distance of the 2nd and 98th percentiles (radiographs: 0.26 and more)."""
LEAST_SIDE = 200
"""Fewer pixels than this a side show less than the networks were trained on (256)."""
LUNG_SHARE = (LEAST_SHARE, 0.65)
"""Lungs cover this fraction of a chest radiograph (radiographs: 0.11 to 0.55)."""
SPINE = 0.06
"""How much darker than its sides the middle strip is in a negative (radiographs: 0.02 darker in 1 %)."""
STRIPS = 0.05
"""How much clearer a horizontal spine is than a vertical one in a radiograph that lies on its side."""
UPSIDE_DOWN = 0.12
"""How much brighter the top of the middle is than its bottom, the abdomen, in a radiograph on its head."""
MOST_TILT, LEVEL = 20.0, -3.0
"""Greatest slope of the line between the lungs' centres, degrees, beside that of an upright film: the lung on the
right of the radiograph, above the heart, has its centre the higher (99 % of radiographs are within 18 of it). A
radiograph that is turned by 25 degrees must be beyond, and the slope is known to some 5 degrees only: so the limit is
below 25."""
BOTTOM_CUT, SIDE_CUT = 0.15, 0.7
"""Largest fractions of the lower and the lateral borders that lung may touch (99 % of radiographs: 0.13 and 0.49)."""

SEAM_STEP, SEAM_SPREAD, MOST_SEAM = 0.04, 0.06, 0.30
"""A seam: grey values of a row differ by so much from those above, where both rows vary by so much; fraction of it."""

_SIDE = 48
_SAMPLES = 128


def check(scan: Scan, lungs: FloatArray | None, view: View | None = None) -> Quality:
    """The flags of an X-ray: the reader's remarks, then exposure, damage, what it shows, position and lungs.

    Args:
        scan: an X-ray, of one slice.
        lungs: lung probability over the whole image, float32 of any size; None where there is no lung finder.
        view: what the view network says; None where there is none. Where there is one, it says how the radiograph lies
            and whether it is a negative, not the grey of spine and abdomen and the slope of the lungs.
    """
    pixels = scan.pixels[0]
    return Quality(
        (
            *scan.remarks,
            *_exposure(pixels),
            *_torn(pixels),
            *damage.check(pixels),
            *(_position(pixels, lungs) if view is None else views.check(view)),
            *(() if lungs is None else _lungs(lungs, *pixels.shape)),
        )
    )


def check_slice(scan: Scan, lungs_found: bool) -> Quality:
    """The flags of a CT slice that came as a picture: the reader's remarks, and whether there are lungs in it.

    The rules for radiographs are of no use here: a slice may have any window, and is no projection.
    """
    none = () if lungs_found else (_refuse("not-a-chest", "no lungs are seen in the slice"),)
    return Quality((*scan.remarks, *none))


def synthetic_among_real(flags: Sequence[Flag], sources: Collection[str]) -> tuple[Flag, ...]:
    """Refuse a synthetic picture where the model has learnt from real films.

    Args:
        flags: of the reader, among them ``synthetic`` where the file says so.
        sources: of the model's training images. Where ``phantom`` or an unknown one is among them, or nothing is known,
            simulated pictures may be the model's own.
    """
    if not sources or not {SYNTHETIC_SOURCE, "unknown"}.isdisjoint(sources):
        return tuple(flags)
    finding = "the image is synthetic, as its file says, and the model has learnt from real images only"
    return tuple(_limit(flag.code, finding) if flag.code == "synthetic" else flag for flag in flags)


def synthetic_and_real(flags: Sequence[Flag], sources: Collection[str]) -> tuple[Flag, ...]:
    """:func:`synthetic_among_real`, and the reverse: a model of simulated studies can't read a patient's."""
    synthetic = any(flag.code == "synthetic" for flag in flags)
    if not synthetic and set(sources) == {SYNTHETIC_SOURCE}:
        finding = "the study is a patient's, and the model has learnt from simulated studies only"
        return (*flags, _limit("real-among-drawn", finding))
    return synthetic_among_real(flags, sources)


def unlike_training(distance: float | None, limit: float | None) -> tuple[Flag, ...]:
    """Refuse an image whose ``quality.distribution`` distance is beyond the bundle's limit (None: not measured)."""
    if distance is None or limit is None or distance <= limit:
        return ()
    finding = (
        f"the image looks unlike those that the model has learnt from, {distance:.2f} times as far off as one of them "
        "typically is"
    )
    return (_limit("out-of-distribution", finding, f"at most {limit:.2f} times"),)


def unlike_normal(distance: float | None, limit: float | None) -> tuple[Flag, ...]:
    """Refuse a negative answer of an image that is farther from normal ones than the limit (None: not measured)."""
    if distance is None or limit is None or distance <= limit:
        return ()
    finding = (
        "the lungs may show a disease that the model does not know: they look unlike the normal ones that it has "
        f"learnt from, {distance:.2f} times as far off as one of these typically is"
    )
    return (_limit("unlike-normal", finding, f"at most {limit:.2f} times in normal lungs"),)


def unknown_disease(distance: float | None, limit: float | None) -> tuple[Flag, ...]:
    """Refuse an image that is farther from normal ones than the limit, where no class is probable enough either."""
    if distance is None or limit is None or distance <= limit:
        return ()
    finding = (
        f"the lungs look unlike normal ones, {distance:.2f} times as far off as one of these typically is, and no "
        "disease of the model is probable enough: they may show one that it does not know"
    )
    return (_limit("unknown-disease", finding, f"at most {limit:.2f} times in normal lungs"),)


def _exposure(pixels: FloatArray) -> list[Flag]:
    flags = []
    step = max(1, min(pixels.shape) // _SAMPLES)
    sample = pixels[::step, ::step]  # percentiles of every pixel would take longer than the network
    low, high, bright = (float(value) for value in percentiles(sample, (2, 95, 98)))
    saturated = float((sample >= SATURATED).mean())
    if high < DARK:
        finding = f"the image is too dark: its bright parts reach {in_percent(high)} of full brightness"
        rule = f"{in_percent(DARK)} and more; below {in_percent(TOO_DARK)} it can't be judged"
        flags.append((_refuse if high < TOO_DARK else _warn)("underexposed", finding, rule))
    if saturated > MOST_SATURATED:
        finding = f"the image is too bright: {in_percent(saturated)} of it is pure white"
        rule = f"at most {in_percent(MOST_SATURATED)}; above {in_percent(TOO_SATURATED)} it can't be judged"
        flags.append((_refuse if saturated > TOO_SATURATED else _warn)("overexposed", finding, rule))
    if bright - low < LEAST_SPREAD:
        finding = f"the contrast is low: the grey values span {in_percent(bright - low)} of the way from black to white"
        flags.append(_warn("low-contrast", finding, f"at least {in_percent(LEAST_SPREAD)}"))
    if min(pixels.shape) < LEAST_SIDE:
        rows, columns = pixels.shape
        finding = f"the image is small: {columns} × {rows} pixels"
        flags.append(_warn("low-resolution", finding, f"at least {LEAST_SIDE} on the shorter side"))
    return flags


def _torn(pixels: FloatArray) -> tuple[Flag, ...]:
    """A step from one row to the next along much of the width, with structure on both sides: damaged compressed data.

    A bit that flips in a JPEG can shift the brightness of everything after it. The edges of frames and collimators
    are no such seams: beyond them it is flat.
    """
    sample = pixels[:, :: max(1, pixels.shape[1] // _SAMPLES)]
    steps = np.diff(sample, axis=0)
    fraction = np.maximum((steps > SEAM_STEP).mean(axis=1), (steps < -SEAM_STEP).mean(axis=1))
    spread = sample.std(axis=1)
    seams = fraction[2:-2] - np.maximum(fraction[:-4], fraction[4:])
    seams[np.minimum(spread[2:-3], spread[5:]) <= SEAM_SPREAD] = 0
    margin = round(0.08 * len(seams))
    worst = float(seams[margin : len(seams) - margin].max())
    if worst <= MOST_SEAM:
        return ()
    finding = (
        f"the file's data may be damaged: the brightness jumps along {in_percent(worst)} of a row of pixels"
    )
    return (_refuse("torn", finding, f"at most {in_percent(MOST_SEAM)}"),)


def _position(pixels: FloatArray, lungs: FloatArray | None) -> tuple[Flag, ...]:
    """At most one flag: spine, abdomen and lungs say how the radiograph lies, and whether it is a negative."""
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low, high = percentiles(small, (2, 98))
    small = np.clip((small - low) / max(high - low, 0.02), 0, 1)
    upright, lying = _spine(small), _spine(small.T)
    if lying - upright > STRIPS and lying + upright > 0:
        finding = (
            "the image lies on its side: the spine stands out from what is beside it more across the image "
            f"({in_percent(lying)} of the range of grey) than along it ({in_percent(upright)})"
        )
        return (_refuse("rotated", finding, "the spine runs from top to bottom"),)
    if upright < -SPINE and lying + upright <= 0:
        darker = f"{in_percent(-upright)} of the range of grey"
        finding = f"the image looks like a negative: the spine is darker than the lungs, by {darker}"
        return (_refuse("looks-inverted", finding, "the spine is brighter than the lungs"),)
    abdomen = float(small[-12:, 14:34].mean() - small[:12, 14:34].mean())
    if abdomen < -UPSIDE_DOWN:
        brighter = f"{in_percent(-abdomen)} of the range of grey"
        finding = f"the image is upside down: its top is brighter than its bottom, by {brighter}"
        return (_refuse("rotated", finding, "the abdomen, at the bottom, is brighter than the neck"),)
    tilt = None if lungs is None else _tilt(lungs, *pixels.shape)
    if tilt is not None and abs(tilt) > MOST_TILT:
        finding = f"the image is tilted by about {abs(tilt):.0f}°, as its lungs lie"
        return (_refuse("rotated", finding, f"at most {MOST_TILT:.0f}°"),)
    return ()


def _spine(small: FloatArray) -> float:
    """How much brighter the upright middle strip is than the two fields beside it, where lungs are."""
    beside = (small[12:32, 7:19].mean() + small[12:32, 29:41].mean()) / 2
    return float(small[12:32, 21:27].mean() - beside)


def _tilt(lungs: FloatArray, rows: int, columns: int) -> float | None:
    """Slope, degrees beyond ``LEVEL``, of the line between the two lungs' centres; None where there are not two."""
    parts, _, stats, centres = cv2.connectedComponentsWithStats((lungs > 0.5).astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if parts < 3:
        return None
    first, second = np.argsort(-areas)[:2]
    if areas[second] < 0.15 * areas[first]:
        return None
    left, right = sorted((centres[1 + first], centres[1 + second]), key=lambda centre: float(centre[0]))
    across, down = right - left
    slope = np.degrees(np.arctan2(down / lungs.shape[0] * rows, across / lungs.shape[1] * columns))
    return float(slope) - LEVEL


def _lungs(lungs: FloatArray, rows: int, columns: int) -> list[Flag]:
    inside = lungs > 0.5
    fraction = float(inside.mean())
    least, most = LUNG_SHARE
    if not least <= fraction <= most:
        finding = f"lungs cover {in_percent(fraction)} of the image"
        return [
            _refuse("not-a-chest", finding, f"{in_percent(least)} to {in_percent(most)} in a chest X-ray")
        ]
    if lung_box(lungs, rows, columns, 0) is None:
        return [_refuse("not-a-chest", "no two lungs of plausible size and place are seen")]
    bottom, side = float(inside[-1].mean()), float(max(inside[:, 0].mean(), inside[:, -1].mean()))
    if bottom > BOTTOM_CUT or side > SIDE_CUT:
        borders = f"{in_percent(bottom)} of the lower and {in_percent(side)} of a lateral border"
        finding = f"the lungs are cut off: they touch {borders}"
        return [_warn("cropped", finding, f"at most {in_percent(BOTTOM_CUT)} and {in_percent(SIDE_CUT)}")]
    return []


def _warn(code: str, finding: str, rule: str) -> Flag:
    return Flag(code, FlagLevel.WARN, finding, rule)


def _refuse(code: str, finding: str, rule: str = "") -> Flag:
    return Flag(code, FlagLevel.REFUSE, finding, rule)


def _limit(code: str, finding: str, rule: str = "") -> Flag:
    return Flag(code, FlagLevel.REFUSE, finding, rule, Subject.MODEL)
