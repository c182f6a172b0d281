"""The figures as a picture: `docs/dataplane.svg` is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from plane.figures import KINDS, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = (
    "bulk up, 1 stream",
    "bulk down, 8 streams",
    "ping-pong 64 B, 1",
    "ping-pong 64 B, 64",
    "connect, 16",
    "UDP 64 B, 16",
)
FLOWS = ("new TCP flows", "new UDP flows")
OURS, LIMIT, THEIRS = "#1f6f8b", "#d8cfb8", "#a9a9a9"


def plot(numbers: Numbers, file: Path) -> None:
    """Draw what is known of `SHOWN` and `FLOWS` as an SVG. Raises SystemExit without matplotlib."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only drawing needs it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise SystemExit("drawing needs matplotlib: pip install -e '.[bench]'") from None
    # the same numbers give the same file
    with mpl.rc_context({"svg.hashsalt": "moorage", "font.size": 8, "axes.spines.top": False}):
        shown = [case for case in (*SHOWN, *FLOWS) if case in numbers.cases()]
        rows = (len(shown) + 1) // 2
        figure = Figure(figsize=(9, 2.1 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False).flat
        for axis, case in zip(axes, shown, strict=False):
            (_lines if case in FLOWS else _bars)(axis, numbers, case)
        for axis in list(axes)[len(shown) :]:
            axis.set_axis_off()
        figure.savefig(file, format="svg", metadata={"Date": None})


def _main(numbers: Numbers, case: str, name: str) -> float:
    return median(numbers.values[case, name, numbers.kinds(case)[0]])


def _bars(axis: Axes, numbers: Numbers, case: str) -> None:
    names = numbers.contestants(case)[::-1]
    values = [_main(numbers, case, name) for name in names]
    bars = axis.barh(names, values, color=[_colour(name) for name in names])
    axis.bar_label(bars, fmt="{:,.0f}", padding=2)
    axis.set_title(f"{case}, {KINDS[numbers.kinds(case)[0]].unit}", loc="left")
    axis.margins(x=0.12)
    axis.set_xticks([])


def _colour(name: str) -> str:
    if name in {"direct", "routed"}:
        return LIMIT
    return OURS if name.startswith("moorage") else THEIRS


def _lines(axis: Axes, numbers: Numbers, case: str) -> None:
    """Contestants here are called `NAME, PORTS`."""
    named = [name.split(", ") for name in numbers.contestants(case)]
    for peer, style in (("moorage", "o-"), ("iptables", "s--"), ("netavark", "^:")):
        points = sorted(
            (int(ports.replace(",", "")), _main(numbers, case, f"{name}, {ports}"))
            for name, ports in named
            if name == peer
        )
        _line(axis, peer, style, points)
    axis.set_title(f"{case}, 1/s, by number of published ports", loc="left")
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)


def _line(axis: Axes, name: str, style: str, points: Sequence[tuple[int, float]]) -> None:
    colour = OURS if name == "moorage" else THEIRS
    axis.plot(
        [ports for ports, _ in points],
        [rate for _, rate in points],
        style,
        color=colour,
        label=name,
        markersize=4,
    )
