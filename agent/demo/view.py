"""What the demo shows: on a terminal the story above a live picture of the boxes, elsewhere plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, TextIO

from rich import box as borders
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agent.demo.claims import Claim, plain_table, rows
from agent.demo.feeds import TITLES as FEED_TITLES
from agent.demo.feeds import feed_rows
from agent.demo.picture import TITLES, box_row, room_line
from agent.demo.watch import Reading

_REFRESH_HZ = 4
_PLAIN_EVERY_S = 4.0
_WIDE = 110
_IS, _VALUES, _GAPS = (FEED_TITLES.index(title) for title in ("IS", "LAST VALUES", "GAPS"))
_WIDE_FEEDS = 144
_FEEDS_LEFT_OUT = ("DEVICE", "HEARD")
_LEFT_OUT = ("EPOCH", "FSYNC")
_CLAIM_TITLES = ("CLAIM", "MEASURED", "")
_STYLES = {"pass": "bold green", "FAIL": "bold red", "same": "green", "newer": "green", "LOST": "bold red"}


class View(Protocol):
    """Where the story goes: ``scene`` begins a part of it, ``say`` tells one thing, ``show`` is how the boxes are."""

    def scene(self, title: str, meaning: str) -> None: ...

    def say(self, text: str) -> None: ...

    def show(self, readings: Sequence[Reading]) -> None: ...

    def table(self, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None: ...

    def end(self, claims: Sequence[Claim]) -> None: ...

    def close(self) -> None: ...


class PlainView:
    """Lines of text, each with the seconds since the start. ``feeds``: with a table of the room's feeds."""

    def __init__(self, out: TextIO, *, feeds: bool = False, every_s: float = _PLAIN_EVERY_S) -> None:
        self._out = out
        self._feeds = feeds
        self._every_s = every_s
        self._began = time.monotonic()
        self._shown_s = 0.0

    def scene(self, title: str, meaning: str) -> None:
        """Begin a part."""
        self._line("")
        self._line(f"== {title.upper()}: {meaning}")

    def say(self, text: str) -> None:
        """Tell one thing."""
        self._line(f"{self._elapsed_s():5.1f} s  {text}")

    def show(self, readings: Sequence[Reading]) -> None:
        """The boxes, every few seconds."""
        if self._elapsed_s() - self._shown_s < self._every_s:
            return
        self._shown_s = self._elapsed_s()
        for reading in readings:
            self._line("         | " + "  ".join(cell for cell in box_row(reading) if cell))
        for reading in readings:
            if self._feeds and (found := feed_rows(reading)):
                for line in plain_table(FEED_TITLES, found):
                    self._line("         | " + line)
            elif reading.values and not self._feeds:
                self._line("         | " + room_line(reading))

    def table(self, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        """Something to compare."""
        for line in plain_table(titles, cells):
            self._line("         " + line)

    def end(self, claims: Sequence[Claim]) -> None:
        """The final table."""
        self._line("")
        for line in plain_table(_CLAIM_TITLES, rows(claims)):
            self._line(line)

    def close(self) -> None:
        """Nothing to put back."""

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class TerminalView:
    """The story scrolls; below it the boxes stay, and with ``feeds`` the room's feeds."""

    def __init__(self, console: Console, *, feeds: bool = False) -> None:
        self._console = console
        self._feeds = feeds
        self._began = time.monotonic()
        self._readings: Sequence[Reading] = ()
        self._title = "starting"
        self._live = Live(self._picture(), console=console, refresh_per_second=_REFRESH_HZ, transient=True)
        self._live.start()

    def scene(self, title: str, meaning: str) -> None:
        """Begin a part."""
        self._title = title
        self._console.print()
        self._console.print(Rule(Text(title.upper(), style="bold cyan"), align="left", style="cyan"))
        self._console.print(Text(meaning, style="italic"))

    def say(self, text: str) -> None:
        """Tell one thing."""
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(style="dim", no_wrap=True)
        line.add_row(f"{self._elapsed_s():5.1f} s", Text(text))
        self._console.print(line)

    def show(self, readings: Sequence[Reading]) -> None:
        """The boxes as they are now."""
        self._readings = readings
        self._live.update(self._picture())

    def table(self, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        """Something to compare."""
        self._console.print(_table(titles, cells))

    def end(self, claims: Sequence[Claim]) -> None:
        """The final table, once the picture is gone."""
        self.close()
        self._console.print()
        self._console.print(_table(_CLAIM_TITLES, rows(claims)))

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _picture(self) -> RenderableType:
        table = Table(box=None, header_style="bold", pad_edge=False, expand=False, padding=(0, 2, 0, 0))
        left_out = _LEFT_OUT if self._console.width < _WIDE else ()
        kept = [column for column, title in enumerate(TITLES) if title not in left_out]
        for column in kept:
            table.add_column(TITLES[column], no_wrap=True, overflow="ellipsis")
        for reading in self._readings:
            row = box_row(reading)
            table.add_row(*(row[column] for column in kept), style=_style(reading))
        heard = [reading for reading in self._readings if reading.values]
        room = [
            _feed_table(each, self._console.width) if self._feeds else Text(room_line(each), style="bold")
            for each in heard
        ]
        heading = Text(f" orledger demo: {self._title}, {self._elapsed_s():.0f} s ", style="bold")
        return Group(Rule(heading, style="dim"), *room, table)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


def _feed_table(reading: Reading, width: int) -> RenderableType:
    """Values and gaps give way where the terminal is narrow, never how a feed is."""
    left_out = () if width >= _WIDE_FEEDS else _FEEDS_LEFT_OUT
    rows = feed_rows(reading)
    kept = [column for column, title in enumerate(FEED_TITLES) if title not in left_out]
    widths = {column: max(len(row[column]) for row in (FEED_TITLES, *rows)) for column in kept}
    space = width - sum(widths[column] for column in kept if column not in (_VALUES, _GAPS)) - 2 * len(kept)
    widths[_GAPS] = min(widths[_GAPS], space // 2)
    widths[_VALUES] = min(widths[_VALUES], space - widths[_GAPS])
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False, padding=(0, 2, 0, 0))
    for column in kept:
        table.add_column(FEED_TITLES[column], no_wrap=True, overflow="ellipsis", width=max(1, widths[column]))
    for row in rows:
        table.add_row(*(row[column] for column in kept), style="" if row[_IS] == "ok" else "bold yellow")
    return table


def _style(reading: Reading) -> str:
    if reading.status is None:
        return "red"
    return "" if reading.status["state"] == "ok" else "yellow"


def _table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    table = Table(box=borders.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return table
