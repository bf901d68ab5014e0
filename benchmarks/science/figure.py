"""Line charts as SVG, nothing but text."""

import html
import math

COLOURS = ["#1b6ca8", "#c44536", "#3a7d44", "#8e5ea2", "#d98e04", "#4c4c4c", "#17a2a2", "#a0522d", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 64, 190, 36, 48


def ticks(low, high, count=5):
    """Round numbers between."""
    raw = (high - low) / count or 1
    step = 10 ** math.floor(math.log10(raw))
    step = next(step * m for m in (1, 2, 5, 10) if step * m >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def lines(path, title, x_label, y_label, series):
    """series: {name: [(x, y)]}; points that are not finite are left out."""
    series = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()}
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    pad = 0.05 * (y1 - y0) or 0.05
    y0, y1 = y0 - pad, y1 + pad
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x, y):
        return (LEFT + (x - x0) / ((x1 - x0) or 1) * (right - LEFT), bottom - (y - y0) / (y1 - y0) * (bottom - TOP))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{html.escape(title)}</text>']
    for t in ticks(y0, y1):
        y = at(x0, t)[1]
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{t:g}</text>')
    for t in ticks(x0, x1):
        x = at(t, y0)[0]
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}" stroke="#888"/>'
                   f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{t:g}</text>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x_label)}</text>')
    out.append(f'<text x="16" y="{(TOP + bottom) / 2}" text-anchor="middle" '
               f'transform="rotate(-90 16 {(TOP + bottom) / 2})">{html.escape(y_label)}</text>')
    for i, (name, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        drawn = [at(x, y) for x, y in sorted(points)]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="' +
                   " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn) + '"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
        y = TOP + 18 * i + 8
        out.append(f'<line x1="{right + 12}" x2="{right + 32}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
                   f'<text x="{right + 38}" y="{y + 4}">{html.escape(name)}</text>')
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
