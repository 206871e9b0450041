"""A diagram as text for documents (Mermaid), for terminals, and as an SVG picture."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from netpunch.output.sequence import Arrow, Diagram, Lane, folded

# Mermaid.


def mermaid(diagram: Diagram) -> str:
    """A sequence diagram, as GitHub and others draw it in documents."""
    names = {lane.key: f"p{number}" for number, lane in enumerate(diagram.lanes)}
    lines = ["sequenceDiagram"]
    for lane in diagram.lanes:
        about = f"<br>{lane.about}" if lane.about else ""
        lines.append(f"  participant {names[lane.key]} as {_quoted(lane.title + about)}")
    for arrow in diagram.arrows:
        way = "-x" if arrow.lost else "->>"
        text = f"{arrow.text}, {arrow.when}"
        lines.append(f"  {names[arrow.source]}{way}{names[arrow.target]}: {_quoted(text)}")
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """`;` and `#` mean something in Mermaid."""
    return text.replace("#", "#35;").replace(";", "#59;").replace("#35#59;", "#35;")


# Text.

LANE_GAP = 4
TIME_GAP = 2


def text(diagram: Diagram, width: int | None = None) -> str:
    """For terminals: a line for each arrow, with its label in it. Where that is wider than `width`
    columns, labels are single words, and then NATs have no lane."""
    terse = (arrow._replace(label=arrow.label.partition(":")[0]) for arrow in diagram.arrows)
    with_words = diagram._replace(arrows=folded(terse))
    without_nats = tuple(lane for lane in diagram.lanes if not lane.is_nat)
    for one in (diagram, with_words, with_words._replace(lanes=without_nats)):
        drawn = _text(one)
        if width is None or max(map(len, drawn.splitlines()), default=0) <= width:
            break
    return drawn


def _text(diagram: Diagram) -> str:
    titles = [[lane.title, lane.about] for lane in diagram.lanes]
    places = _places(diagram)
    width = max((len(arrow.when) for arrow in diagram.arrows), default=0) + TIME_GAP
    lines = []
    for number in range(2):
        line = ""
        for place, title in zip(places.values(), titles, strict=True):
            start = max(len(line) + (1 if line else 0), place - len(title[number]) // 2)
            line = line.ljust(start) + title[number]
        lines.append(" " * width + line)
    lines += [
        arrow.when.rjust(width - TIME_GAP) + " " * TIME_GAP + _text_arrow(arrow, places)
        for arrow in diagram.arrows
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _places(diagram: Diagram) -> dict[str, int]:
    """The column of each lane: wide enough for its title and for the labels beside it."""
    keys = [lane.key for lane in diagram.lanes]
    places: dict[str, int] = {}
    at = 0
    for number, lane in enumerate(diagram.lanes):
        half = _title_width(lane) // 2
        if not number:
            at = half
        else:
            at += _title_width(diagram.lanes[number - 1]) // 2 + half + LANE_GAP
        for arrow in diagram.arrows:
            one, other = sorted((keys.index(arrow.source), keys.index(arrow.target)))
            if other == number:
                at = max(at, places[keys[one]] + len(arrow.text) + 6)
        places[lane.key] = at
    return places


def _title_width(lane: Lane) -> int:
    return max(len(lane.title), len(lane.about))


def _text_arrow(arrow: Arrow, places: dict[str, int]) -> str:
    line = [" "] * (max(places.values()) + 1)
    for place in places.values():
        line[place] = "|"
    left, right = sorted((places[arrow.source], places[arrow.target]))
    rightwards = places[arrow.source] == left
    body = list(f" {arrow.text} ".center(right - left - 1, "-"))
    head = ("x" if arrow.lost else ">") if rightwards else ("x" if arrow.lost else "<")
    body[-1 if rightwards else 0] = head
    line[left + 1 : right] = body
    return "".join(line)


# SVG.

LANE_WIDTH = 190
MARGIN = 110
TOP = 76
STEP = 34
CHARACTER = 6.6
"""Width of a character of the labels, at 12 px: monospaced fonts differ little."""
INK, PALE, LOST, FLOW = "#1f2933", "#c3ccd6", "#c0392b", "#1b6ca8"
FONT = "font-family=\"ui-sans-serif, 'DejaVu Sans', Helvetica, Arial, sans-serif\""


def svg(diagram: Diagram) -> str:
    """A picture that needs no script and no other file."""
    step = max([LANE_WIDTH, *_label_widths(diagram)])
    places = {lane.key: MARGIN + step * n + 40 for n, lane in enumerate(diagram.lanes)}
    width = max(places.values(), default=0) + MARGIN
    bottom = TOP + STEP * (len(diagram.arrows) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {bottom + 20}" '
        f'width="{width:.0f}" height="{bottom + 20}" {FONT} font-size="12">',
        f"<title>{escape(diagram.pair)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(part for lane in diagram.lanes for part in _svg_lane(lane, places[lane.key], bottom)),
    ]
    for number, arrow in enumerate(diagram.arrows):
        parts += _svg_arrow(arrow, places, TOP + STEP * (number + 1))
    return "\n".join([*parts, "</svg>\n"])


def _label_widths(diagram: Diagram) -> Iterator[float]:
    """What each label needs of the distance of two lanes."""
    keys = [lane.key for lane in diagram.lanes]
    for arrow in diagram.arrows:
        lanes = abs(keys.index(arrow.source) - keys.index(arrow.target)) or 1
        yield (len(arrow.text) * CHARACTER + 24) / lanes


def _svg_lane(lane: Lane, x: float, bottom: float) -> Iterator[str]:
    dashes = ' stroke-dasharray="2 5"' if lane.is_nat else ""
    yield (
        f'<line x1="{x:.0f}" y1="{TOP - 8}" x2="{x:.0f}" y2="{bottom}" stroke="{PALE}" '
        f'stroke-width="{1 if lane.is_nat else 2}"{dashes}/>'
    )
    box = max(len(lane.title) * 8, len(lane.about) * 6.4) + 20
    fill = "#ffffff" if lane.is_nat else "#eef3f8"
    yield (
        f'<rect x="{x - box / 2:.0f}" y="14" width="{box:.0f}" height="48" rx="6" fill="{fill}" '
        f'stroke="{PALE}"/>'
    )
    title_y = 34 if lane.about else 42
    yield (
        f'<text x="{x:.0f}" y="{title_y}" text-anchor="middle" font-size="13" font-weight="600" '
        f'fill="{INK}">{escape(lane.title)}</text>'
    )
    if lane.about:
        yield (
            f'<text x="{x:.0f}" y="51" text-anchor="middle" font-size="11" fill="#5b6875">'
            f"{escape(lane.about)}</text>"
        )


def _svg_arrow(arrow: Arrow, places: dict[str, float], y: float) -> Iterator[str]:
    start, end = places[arrow.source], places[arrow.target]
    way = 1 if end > start else -1
    colour = LOST if arrow.lost else FLOW
    tip = end - way * (60 if arrow.lost else 2)
    dashes = ' stroke-dasharray="5 4"' if arrow.lost else ""
    yield f'<text x="12" y="{y + 4}" font-size="11" fill="#5b6875">{escape(arrow.when)}</text>'
    yield (
        f'<line x1="{start:.0f}" y1="{y}" x2="{tip:.0f}" y2="{y}" stroke="{colour}" '
        f'stroke-width="1.5"{dashes}/>'
    )
    if arrow.lost:
        yield (
            f'<path d="M{tip - 5:.0f} {y - 5}l10 10m0 -10l-10 10" stroke="{colour}" '
            'stroke-width="2"/>'
        )
    else:
        yield f'<path d="M{tip:.0f} {y}l{-way * 8} -4v8z" fill="{colour}"/>'
    middle = (start + end) / 2
    box = len(arrow.text) * CHARACTER + 8
    yield (
        f'<rect x="{middle - box / 2:.0f}" y="{y - 18}" width="{box:.0f}" height="14" '
        'fill="#ffffff" fill-opacity="0.85"/>'
    )
    yield (
        f'<text x="{middle:.0f}" y="{y - 7}" text-anchor="middle" '
        f'fill="{LOST if arrow.lost else INK}">{escape(arrow.text)}</text>'
    )
