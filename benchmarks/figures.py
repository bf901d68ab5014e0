"""Small charts as SVG, with the standard library alone: lines over a logarithmic axis of counts, and stacked bars."""
import dataclasses
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 276, 58, 14, 34, 74
# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")


def ticks(top):
    """Four or five round values from 0 to at least `top`."""
    if top <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(top / 4))
    step *= next(f for f in (1, 2, 2.5, 5, 10) if top / (f * step) <= 5)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def text(x, y, words, anchor="middle", size=11, extra=""):
    escaped = str(words).replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{extra}>{escaped}</text>'


class Panel:
    def frame(self, top):
        marks = ticks(top)
        self.scale = (HEIGHT - TOP - BOTTOM) / marks[-1]
        out = [text(WIDTH / 2, 18, self.title, size=13, extra=' font-weight="bold"')]
        for value in marks:
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(value):.1f}" y2="{self.y(value):.1f}" stroke="#ddd"/>')
            out.append(text(LEFT - 6, self.y(value) + 4, f"{value:.6g}", "end"))
        return out

    def y(self, value):
        return HEIGHT - BOTTOM - value * self.scale

    @staticmethod
    def legend(names):
        """One row, or two where one is too short."""
        out, x, y = [], LEFT, HEIGHT - 32
        for i, name in enumerate(names):
            width = 26 + 6 * len(name)
            if x + width > WIDTH:
                x, y = LEFT, y + 16
            out.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>')
            out.append(text(x + 14, y + 9, name, "start"))
            x += width
        return out


@dataclasses.dataclass
class Lines(Panel):
    title: str
    unit: str
    series: dict  # name -> [(x, y)]

    def draw(self):
        out = self.frame(max(y for points in self.series.values() for _, y in points))
        xs = sorted({x for points in self.series.values() for x, _ in points})
        span = math.log(xs[-1] / xs[0]) or 1
        place = {x: LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * math.log(x / xs[0]) / span for x in xs}
        out += [text(place[x], HEIGHT - BOTTOM + 16, x) for x in xs]
        out.append(text((LEFT + WIDTH) / 2, HEIGHT - BOTTOM + 32, self.unit))
        for i, points in enumerate(self.series.values()):
            colour = COLOURS[i % len(COLOURS)]
            path = " ".join(f"{place[x]:.1f},{self.y(y):.1f}" for x, y in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            out += [f'<circle cx="{place[x]:.1f}" cy="{self.y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        return out + self.legend(self.series)


@dataclasses.dataclass
class Stack(Panel):
    title: str
    bars: dict  # name -> {part: value}

    def draw(self):
        parts = list(dict.fromkeys(part for bar in self.bars.values() for part in bar))
        out = self.frame(max(sum(bar.values()) for bar in self.bars.values()))
        slot = (WIDTH - LEFT - RIGHT) / len(self.bars)
        for i, (name, bar) in enumerate(self.bars.items()):
            base = 0
            x = LEFT + i * slot + 0.15 * slot
            for part, value in bar.items():
                colour = COLOURS[parts.index(part) % len(COLOURS)]
                out.append(f'<rect x="{x:.1f}" y="{self.y(base + value):.1f}" width="{0.7 * slot:.1f}" height="{value * self.scale:.1f}" fill="{colour}"/>')
                base += value
            number, _, mode = str(name).partition(" ")
            out.append(text(x + 0.35 * slot, HEIGHT - BOTTOM + 14, number))
            out.append(text(x + 0.35 * slot, HEIGHT - BOTTOM + 28, mode, size=9))
        return out + self.legend(parts)


def page(panels, columns):
    rows = math.ceil(len(panels) / columns)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * WIDTH}" height="{rows * HEIGHT}" font-family="sans-serif">',
           '<rect width="100%" height="100%" fill="white"/>']
    for i, panel in enumerate(panels):
        out.append(f'<g transform="translate({i % columns * WIDTH},{i // columns * HEIGHT})">')
        out += panel.draw()
        out.append("</g>")
    return "\n".join([*out, "</svg>"]) + "\n"
