"""What can be said of an X-ray's quality without its diagnosis.

Thresholds were set on real films and on copies of them that were turned, tilted, inverted, darkened, brightened or
cut (every second validation film of the four-class set, 350; 280 films of two other sources; 125 films with lung masks;
copies of a quarter of them), with the lung finder that comes with the package. Undamaged films that a rule flags, in
per cent of the three sets (refused + warned of where a rule does both):

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
no lungs        0.3, 0, 0                 left half of a film: 65, 54, 66 (most others as inverted)
cut off         0.3, 0, 0                 upper half of a film: 94, 86, 97
torn            1.0, 0, 0                 bits of a JPEG flipped, not seen in decoding, much changed: 22 of 24
==============  ========================  =========================================================

Without the last rule (667 training, validation and test films of the first set) 2.0, 1.4 and 0 % of undamaged films
were refused in all and 0.9, 0 and 0 % warned of; no rule refuses more than 1.05 %. The limits were set on these very
films (of `torn` also the 24 damaged ones), so the rates flatter the rules.

The four rows on how a film lies (turned, upside down, tilted, inverted) hold where a model has no view network. Where
it has one, that tells it instead, more surely and with fewer false alarms; ``quality.pixels`` finds blur and noise
either way. Both are measured in docs/image-checks.md, on films that set no limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from pulmoscope.core.types import Flag, FlagLevel, FloatArray, Quality, Scan
from pulmoscope.io.raster import SYNTHETIC_SOURCE
from pulmoscope.preprocess.lungs import LEAST_SHARE, lung_box
from pulmoscope.preprocess.views import View
from pulmoscope.quality import pixels as damage
from pulmoscope.quality import views

DARK, TOO_DARK = 0.45, 0.30
"""A film whose 95th percentile is below this is underexposed, or too much so to be judged (99 % of films: 0.50)."""
SATURATED, MOST_SATURATED, TOO_SATURATED = 0.995, 0.15, 0.30
"""A film with a larger share of pixels at or above ``SATURATED`` is overexposed, or too much so (films: 0.06)."""
LEAST_SPREAD = 0.2
"""Least distance of the 2nd and 98th percentiles (films: 0.26 and more)."""
LEAST_SIDE = 200
"""Fewer pixels than this a side show less than the networks were trained on (256)."""
LUNG_SHARE = (LEAST_SHARE, 0.65)
"""Lungs cover this share of a chest film (films: 0.11 to 0.55)."""
SPINE = 0.06
"""How much darker than its sides the middle strip is in a negative (films: 0.02 darker in 1 %)."""
STRIPS = 0.05
"""How much clearer a horizontal spine is than a vertical one in a film that lies on its side."""
UPSIDE_DOWN = 0.12
"""How much brighter the top of the middle is than its bottom, the abdomen, in a film on its head."""
MOST_TILT, LEVEL = 20.0, -3.0
"""Greatest slope of the line between the lungs' centres, degrees, beside that of an upright film: the lung on the
right of the film, above the heart, has its centre the higher (99 % of films are within 18 of it). A film that is turned
by 25 degrees must be beyond, and the slope is known to some 5 degrees only: so the limit is below 25."""
BOTTOM_CUT, SIDE_CUT = 0.15, 0.7
"""Greatest shares of the lower and the lateral borders that lung may touch (99 % of films: 0.13 and 0.49)."""

SEAM_STEP, SEAM_SPREAD, MOST_SEAM = 0.04, 0.06, 0.30
"""A seam: grey values of a row differ by so much from those above, where both rows vary by so much; share of it."""

_SIDE = 48
_SAMPLES = 128


def check(scan: Scan, lungs: FloatArray | None, view: View | None = None) -> Quality:
    """The flags of an X-ray: the reader's remarks, then exposure, damage, what it shows, position and lungs.

    Args:
        scan: an X-ray, of one slice.
        lungs: lung probability over the whole image, float32 of any size; None where there is no lung finder.
        view: what the view network says; None where there is none. Where there is one, it tells how the film lies and
            whether it is a negative, not the grey of spine and abdomen and the slope of the lungs.
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

    The rules for films are of no use here: a slice may have any window, and is no projection.
    """
    none = () if lungs_found else (_refuse("not-a-chest", "lungs are seen in the slice (found: none)"),)
    return Quality((*scan.remarks, *none))


def drawn_among_real(flags: Sequence[Flag], sources: Collection[str]) -> tuple[Flag, ...]:
    """Refuse a picture that a program drew, where the model has learnt from real films.

    Args:
        flags: of the reader, among them ``synthetic`` where the file says so.
        sources: of the model's training images. Where ``phantom`` or an unknown one is among them, or nothing is known,
            drawn pictures may be the model's own.
    """
    if not sources or not {SYNTHETIC_SOURCE, "unknown"}.isdisjoint(sources):
        return tuple(flags)
    detail = (
        "the model knows real images only, and a program drew this image (its own text says so): no patient"
    )
    return tuple(_refuse(flag.code, detail) if flag.code == "synthetic" else flag for flag in flags)


def drawn_and_real(flags: Sequence[Flag], sources: Collection[str]) -> tuple[Flag, ...]:
    """:func:`drawn_among_real`, and the reverse: a model that has seen drawn studies only can't judge a patient's."""
    drawn = any(flag.code == "synthetic" for flag in flags)
    if not drawn and set(sources) == {SYNTHETIC_SOURCE}:
        detail = "the model has seen patients' studies (found: it learnt from drawn ones only)"
        return (*flags, _refuse("real-among-drawn", detail))
    return drawn_among_real(flags, sources)


def unlike_training(distance: float | None, limit: float | None) -> tuple[Flag, ...]:
    """Refuse an image whose ``quality.distribution`` distance is beyond the bundle's limit (None: not measured)."""
    if distance is None or limit is None or distance <= limit:
        return ()
    detail = f"the image is within {limit:.2f} of the training images (found: {distance:.2f})"
    return (Flag("out-of-distribution", FlagLevel.REFUSE, detail),)


def unlike_normal(distance: float | None, limit: float | None) -> tuple[Flag, ...]:
    """Refuse a negative answer of an image that is farther from normal ones than the limit (None: not measured)."""
    if distance is None or limit is None or distance <= limit:
        return ()
    rule = (
        f"normal lungs are within {limit:.2f} of those that the model has learnt from (found: {distance:.2f})"
    )
    detail = f"{rule}: it may show a disease that the model does not know"
    return (Flag("unlike-normal", FlagLevel.REFUSE, detail),)


def _exposure(pixels: FloatArray) -> list[Flag]:
    flags = []
    step = max(1, min(pixels.shape) // _SAMPLES)
    sample = pixels[::step, ::step]  # percentiles of every pixel would take longer than the network
    low, high, bright = (float(value) for value in np.percentile(sample, (2, 95, 98)))
    saturated = float((sample >= SATURATED).mean())
    if high < DARK:
        rule = f"the brightest 5 % of the pixels lie above {DARK:.2f}"
        severity = _refuse if high < TOO_DARK else _warn
        flags.append(severity("underexposed", f"{rule}, and must above {TOO_DARK:.2f} (found: {high:.2f})"))
    if saturated > MOST_SATURATED:
        rule = f"at most {MOST_SATURATED:.0%} of the pixels are white, and {TOO_SATURATED:.0%} are too many"
        severity = _refuse if saturated > TOO_SATURATED else _warn
        flags.append(severity("overexposed", f"{rule} (found: {saturated:.0%})"))
    if bright - low < LEAST_SPREAD:
        rule = f"grey values span at least {LEAST_SPREAD} of the range"
        flags.append(_warn("low-contrast", f"{rule} (found: {bright - low:.2f})"))
    if min(pixels.shape) < LEAST_SIDE:
        rows, columns = pixels.shape
        rule = f"the shorter side has at least {LEAST_SIDE} pixels"
        flags.append(_warn("low-resolution", f"{rule} (found: {rows} x {columns})"))
    return flags


def _torn(pixels: FloatArray) -> tuple[Flag, ...]:
    """A step from one row to the next along much of the width, with structure on both sides: damaged compressed data.

    A bit that flips in a JPEG can shift the brightness of everything after it. The edges of frames and collimators
    are no such seams: beyond them it is flat.
    """
    sample = pixels[:, :: max(1, pixels.shape[1] // _SAMPLES)]
    steps = np.diff(sample, axis=0)
    share = np.maximum((steps > SEAM_STEP).mean(axis=1), (steps < -SEAM_STEP).mean(axis=1))
    spread = sample.std(axis=1)
    seams = share[2:-2] - np.maximum(share[:-4], share[4:])
    seams[np.minimum(spread[2:-3], spread[5:]) <= SEAM_SPREAD] = 0
    margin = round(0.08 * len(seams))
    worst = float(seams[margin : len(seams) - margin].max())
    if worst <= MOST_SEAM:
        return ()
    rule = f"no step in brightness runs along more than {MOST_SEAM:.0%} of a row"
    return (_refuse("torn", f"{rule} (found: {worst:.0%}): the file's data may be damaged"),)


def _position(pixels: FloatArray, lungs: FloatArray | None) -> tuple[Flag, ...]:
    """At most one flag: spine, abdomen and lungs say how the film lies, and whether it is a negative."""
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, (2, 98))
    small = np.clip((small - low) / max(high - low, 0.02), 0, 1)
    upright, lying = _spine(small), _spine(small.T)
    if lying - upright > STRIPS and lying + upright > 0:
        found = f"(found: {lying:.2f} across, {upright:.2f} along)"
        return (_refuse("rotated", f"the spine runs from top to bottom, not from side to side {found}"),)
    if upright < -SPINE and lying + upright <= 0:
        rule = "the spine is brighter than the lungs, not darker as in a negative"
        return (_refuse("looks-inverted", f"{rule} (found: {upright:.2f})"),)
    abdomen = float(small[-12:, 14:34].mean() - small[:12, 14:34].mean())
    if abdomen < -UPSIDE_DOWN:
        rule = "the abdomen is at the bottom, brighter than the neck at the top"
        return (_refuse("rotated", f"{rule} (found: {abdomen:.2f})"),)
    tilt = None if lungs is None else _tilt(lungs, *pixels.shape)
    if tilt is not None and abs(tilt) > MOST_TILT:
        rule = f"the lungs stand side by side, within {MOST_TILT:.0f} degrees"
        return (_refuse("rotated", f"{rule} (found: {abs(tilt):.0f})"),)
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
    share = float(inside.mean())
    least, most = LUNG_SHARE
    if not least <= share <= most:
        rule = f"lungs cover {least:.0%} to {most:.0%} of a chest film"
        return [_refuse("not-a-chest", f"{rule} (found: {share:.0%})")]
    if lung_box(lungs, rows, columns, 0) is None:
        return [_refuse("not-a-chest", "two lungs of plausible size and place are found (found: none)")]
    bottom, side = float(inside[-1].mean()), float(max(inside[:, 0].mean(), inside[:, -1].mean()))
    if bottom > BOTTOM_CUT or side > SIDE_CUT:
        rule = f"at most {BOTTOM_CUT:.0%} of the lower and {SIDE_CUT:.0%} of a lateral border are lung"
        return [_warn("cropped", f"{rule} (found: {bottom:.0%}, {side:.0%})")]
    return []


def _warn(code: str, detail: str) -> Flag:
    return Flag(code, FlagLevel.WARN, detail)


def _refuse(code: str, detail: str) -> Flag:
    return Flag(code, FlagLevel.REFUSE, detail)
