"""What is measured, and how it is shown: a table in docs/RESULTS.md, a picture for the README."""

import json
import os
import platform
import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
REASONS = Path(__file__).with_name("missed.toml")
STORE, TABLES, PICTURE = DOCS / "results.json", DOCS / "RESULTS.md", DOCS / "results.svg"
BEGIN, END = "<!-- scripts/bench writes what follows -->\n", "<!-- scripts/bench wrote this -->\n"
WIDTH, MOST = 360, 3  # pixels of the longest bar in the picture, and the ratio that it shows

Sides = dict[str, list[float]]


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        what: the case.
        ours: the median of our runs, in `unit`; None where it was not measured, as `others` say.
        best: the least of them.
        runs: how many.
        floor: the median of what no such thing can do without; `floor_is` says what that is.
        ratio: the median of ours / floor, run by run; without a floor None.
        target: the greatest ratio or, without a floor, the greatest `ours` that we accept.
        others: medians of alternatives, what else was seen, or why one was not measured.
        part: the title of the table that it stands in, if a case has several.
    """

    what: str
    ours: float | None
    unit: str = "s"
    best: float | None = None
    runs: int = 1
    floor: float | None = None
    floor_is: str = ""
    ratio: float | None = None
    target: float | None = None
    others: Mapping[str, float | str] = field(default_factory=dict)
    part: str = ""

    @property
    def holds(self) -> str:
        """`yes`, `no`, or nothing without a target."""
        reached = self.ratio or self.ours
        if self.target is None or reached is None:
            return ""
        return "yes" if reached <= self.target else "no"


def alternate(runs: int, **sides: Callable[[], float]) -> Sides:
    """Run every side in turn, `runs` times after one that warms up: noise meets all of them."""
    taken: Sides = {name: [] for name in sides}
    for turn in range(runs + 1):
        for name, side in sides.items():
            seconds = side()
            if turn:
                taken[name].append(seconds)
    return taken


def figure(
    what: str,
    taken: Sides,
    *,
    unit: str = "s",
    floor_is: str = "",
    target: float | None = None,
    others: Mapping[str, float | str] | None = None,
) -> Figure:
    """A figure from the sides `ours`, `floor` if there is one, and alternatives."""
    scale = {"ms": 1000, "s": 1}[unit]
    ours, floor = taken["ours"], taken.get("floor")
    more = {name: statistics.median(side) * scale for name, side in taken.items()}
    return Figure(
        what,
        more.pop("ours"),
        unit,
        min(ours) * scale,
        len(ours),
        more.pop("floor", None),
        floor_is,
        statistics.median(a / b for a, b in zip(ours, floor, strict=True)) if floor else None,
        target,
        {**more, **(others or {})},
    )


def store(case: str, title: str, versions: str, figures: Iterable[Figure]) -> None:
    """Keep the figures of a case in place of its last ones, and show all of them anew."""
    kept = json.loads(STORE.read_text("utf-8")) if STORE.exists() else {}
    kept[case] = {
        "title": title,
        "when": datetime.now(UTC).date().isoformat(),
        "where": f"{os.cpu_count()} cores, {platform.system()}, Python "
        f"{platform.python_version()}, {versions}",
        "load": round(os.getloadavg()[0], 1),
        "figures": [asdict(figure) for figure in figures],
    }
    write(dict(sorted(kept.items())))


def write(kept: dict[str, dict[str, Any]]) -> None:
    """The store, the tables and the picture."""
    STORE.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    before, _, rest = TABLES.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    TABLES.write_text(before + BEGIN + tables(kept) + "\n" + END + after, "utf-8")
    PICTURE.write_text(_picture(kept), "utf-8")


def tables(kept: dict[str, dict[str, Any]]) -> str:
    """All of them, and why targets are missed."""
    text = f"\n![Ratios, and their targets]({PICTURE.name})\n"
    return text + "".join(_section(case, kept[case]) for case in kept) + _missed(kept)


def line(figure: Figure) -> str:
    """A figure as one line of a terminal."""
    text = f"{figure.what}: {_quantity(figure.ours, figure.unit)}"
    if figure.floor is not None:
        text += f"; {figure.floor_is}: {_number(figure.floor)} {figure.unit}"
    if figure.ratio is not None:
        text += f"; ratio {figure.ratio:.2f}"
    for name, value in figure.others.items():
        text += f"; {name.replace('_', ' ')}: {_quantity(value, figure.unit)}"
    if figure.target is not None:
        text += f" (target {figure.target:g}: {figure.holds})"
    return text


def _section(case: str, section: dict[str, Any]) -> str:
    figures = [Figure(**values) for values in section["figures"]]
    text = (
        f"\n## {section['title']}\n\n`scripts/bench {case}`, {section['when']}: "
        f"{section['where']}; load average {section['load']}.\n"
    )
    for part in dict.fromkeys(figure.part for figure in figures):
        text += f"\n### {part}\n" if part else ""
        text += "\n" + _table([figure for figure in figures if figure.part == part])
    return text


def missed(kept: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Figure, str]]:
    """The case, the figure and the reason of each target that is missed; without one ''."""
    reasons = tomllib.loads(REASONS.read_text("utf-8"))
    for case, section in kept.items():
        for values in section["figures"]:
            if (found := Figure(**values)).holds == "no":
                yield case, found, reasons.get(case, {}).get(found.what, "").strip()


def _missed(kept: dict[str, dict[str, Any]]) -> str:
    text = "\n## Where a target is missed, and why\n\n"
    for case, found, why in missed(kept):
        reached = f"{found.ratio:.2f} times" if found.ratio else _quantity(found.ours, found.unit)
        text += f"- **{found.what} (`{case}`): {reached}, wanted {found.target:g}.** {why}\n"
    return text + "\n`scripts/bench profile` shows where the time goes.\n"


def _table(figures: list[Figure]) -> str:
    """Without the columns that are empty."""
    names = list(dict.fromkeys(name for figure in figures for name in figure.others))
    head = ["case", "median", "least", "floor", "ratio", "target", "holds"]
    rows = [[*head, *(name.replace("_", " ") for name in names)]]
    for figure in figures:
        floor = "" if figure.floor is None else f"{_number(figure.floor)} ({figure.floor_is})"
        cells = [figure.what, _quantity(figure.ours, figure.unit)]
        cells.append("" if figure.best is None else _number(figure.best))
        cells += [floor, "" if figure.ratio is None else f"{figure.ratio:.2f}"]
        cells += ["" if figure.target is None else f"{figure.target:g}", figure.holds]
        cells += [_quantity(figure.others.get(name, ""), figure.unit) for name in names]
        rows.append(cells)
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    head, *rows = [list(row) for row in zip(*columns, strict=True)]
    rows = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _picture(kept: dict[str, dict[str, Any]]) -> str:
    """The ratios that have a target, as bars; a mark where the target is."""
    scale, parts, y = WIDTH / MOST, list[str](), 36
    for section in kept.values():
        figures = [Figure(**values) for values in section["figures"]]
        bars = [(it, it.ratio, it.target) for it in figures if it.ratio and it.target]
        if bars:
            parts.append(f'<text x="16" y="{y + 17}" font-weight="bold">{section["title"]}</text>')
            y += 26
        for figure, ratio, target in bars:
            color = "#2a7" if figure.holds == "yes" else "#c63"
            end = 310 + min(ratio, MOST) * scale
            name, said = escape(figure.what), f"{ratio:.2f} \u00d7 {escape(figure.floor_is)}"
            parts.append(
                f'<text x="300" y="{y + 13}" text-anchor="end">{name}</text>'
                f'<rect x="310" y="{y}" width="{end - 310:.0f}" height="16" fill="{color}"/>'
                f'<path d="M{310 + target * scale:.0f} {y - 3}v22" stroke="#000" stroke-width="2"/>'
                f'<text x="{max(end, 310 + target * scale) + 8:.0f}" y="{y + 13}">{said}</text>'
            )
            y += 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 {y + 16}" width="840" '
        'font-family="sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        '<text x="16" y="24">Our time as a multiple of what no such thing can do without; '
        f"the mark is the target, orange misses it, a bar ends at {MOST}</text>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _quantity(value: float | str | None, unit: str) -> str:
    """With its unit; a text as it is."""
    if isinstance(value, str):
        return value
    return "" if value is None else f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
