"""pixel = 1 where the distance to the nearest stroke < thickness: the ten digits, from our own pen.

Each digit is a few polylines in a unit box, x to the right and y down; a curve is a polyline of
many points. A picture slants the strokes, scales them to its size and inks every pixel whose centre
is near enough to a stroke.

Letters: N points, S line segments, T = 540 pictures, D = size * size pixels.
"""
import numpy as np

# Lengths are shares of the picture's side, so a size of 28 is a size of 16 drawn finer.
WIDTH, HEIGHT = 7 / 16, 9 / 16        # of the unit box on the page
SLANTS = (-0.22, 0.0, 0.22)           # sideways per unit of height: leaning left, upright, right
# (half the pen's width, its offset right and down). At size 16 straight strokes run through pixel
# centres, which suits a pen one pixel wide; the pen two pixels wide moves half a pixel, or it would
# ink three.
PENS = ((0.04, 0.0), (0.062, 1 / 32))
SHIFTS = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


def line(*points):
    """(x, y), (x, y), ... -> (N, 2), straight from each point to the next."""
    return np.array(points, dtype=float)


def arc(x, y, rx, ry, start, stop):
    """(x + rx cos t, y + ry sin t), t in degrees from start to stop; 90 is down -> (N, 2)."""
    t = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


# At size 16 the box is 7 x 9 pixels, so sevenths across and ninths down keep thin lines crisp.
SIX = [arc(0.9, 13 / 18, 0.9, 13 / 18, 180, 270), arc(0.5, 13 / 18, 0.5, 5 / 18, 0, 360)]
DIGITS = (
    [arc(0.5, 0.5, 0.5, 0.5, 0, 360)],
    [line((1 / 7, 2 / 9), (4 / 7, 0), (4 / 7, 1)), line((1 / 7, 1), (1, 1))],
    [arc(0.5, 0.3, 0.5, 0.3, 190, 390), line((0.93, 0.45), (0, 1), (1, 1))],
    [arc(0.45, 2 / 9, 0.5, 2 / 9, 205, 450), arc(0.45, 13 / 18, 0.55, 5 / 18, 270, 510)],
    [line((2 / 7, 0), (0, 2 / 3), (1, 2 / 3)), line((5 / 7, 1 / 3), (5 / 7, 1))],
    [line((6 / 7, 0), (0, 0), (0, 4 / 9)), arc(0.4, 13 / 18, 0.6, 5 / 18, 250, 495)],
    SIX,
    [line((0, 0), (1, 0), (0.35, 1))],
    [arc(0.5, 2 / 9, 0.43, 2 / 9, 0, 360), arc(0.5, 13 / 18, 0.5, 5 / 18, 0, 360)],
    [1 - stroke for stroke in SIX],   # a nine is a six upside down
)


def segments(digit, slant):
    """A digit's segments, slanted, about the picture's centre -> starts (S, 2), ends (S, 2)."""
    strokes = [(stroke - 0.5) * (WIDTH, HEIGHT) for stroke in DIGITS[digit]]
    strokes = [stroke - slant * stroke[:, 1:] * (1, 0) for stroke in strokes]  # minus: y is down
    return np.concatenate([s[:-1] for s in strokes]), np.concatenate([s[1:] for s in strokes])


def distance_to_strokes(points, starts, ends):
    """min over segments of |p - a - t (b - a)|, t = (p - a).(b - a) / |b - a|^2 -> (N,).

    t is clipped to [0, 1]: beyond an end, the end is the nearest point.
    """
    along = ends - starts                                                      # (S, 2)
    offset = points[:, None] - starts                                          # (N, S, 2)
    t = np.clip((offset * along).sum(-1) / (along ** 2).sum(-1), 0, 1)         # (N, S)
    return np.linalg.norm(offset - t[..., None] * along, axis=-1).min(axis=1)


def draw_templates(size):
    """Every digit x slant x thickness x shift -> pictures (T, D) of 0 and 1, and their factors.

    Factors are integers (T,) that index DIGITS, SLANTS, PENS and SHIFTS. A shift is by whole
    pixels: one for every 16 of the side, rounded. Pictures are float32.
    """
    centres = (np.arange(size) + 0.5) / size - 0.5
    y, x = np.meshgrid(centres, centres, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()], axis=1)                           # (D, 2)
    step = round(size / 16)
    pictures = []
    for digit in range(len(DIGITS)):
        for slant in SLANTS:
            for thickness, offset in PENS:
                distance = distance_to_strokes(points - offset, *segments(digit, slant))
                ink = (distance < thickness).reshape(size, size)
                pictures += [np.roll(ink, (dy * step, dx * step), (0, 1)) for dx, dy in SHIFTS]
    table = np.indices((len(DIGITS), len(SLANTS), len(PENS), len(SHIFTS))).reshape(4, -1)
    factors = dict(zip(("digit", "slant", "thickness", "shift"), table))
    return np.stack(pictures).reshape(-1, size * size).astype(np.float32), factors
