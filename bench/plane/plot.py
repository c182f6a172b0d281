"""The figures as a picture: `docs/dataplane.svg` is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from generations import NEWER

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
OURS, LIMIT, THEIRS, SPREAD = "#1f6f8b", "#e5ddc8", "#c4c4c4", "#707070"


def plot(numbers: Numbers, file: Path) -> None:
    """Draw what is known of `SHOWN` and `FLOWS` as an SVG: medians, and lines from the least to the most.

    Raises SystemExit without matplotlib.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only drawing needs it
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise SystemExit("drawing needs matplotlib: pip install -e '.[bench]'") from None
    # the same numbers give the same file
    with mpl.rc_context({"svg.hashsalt": "moorage", "svg.fonttype": "none", "font.size": 8}):
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
    labels = [f"{name}  {value:,.0f}" for name, value in zip(names, values, strict=True)]
    thin = {"elinewidth": 0.7, "ecolor": SPREAD}
    colours = [_colour(name) for name in names]
    axis.barh(labels, values, xerr=_errors(numbers, case, names), error_kw=thin, color=colours)
    axis.set_title(f"{case}, {KINDS[numbers.kinds(case)[0]].unit}", loc="left")
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _errors(numbers: Numbers, case: str, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """From each median down to the least round and up to the most."""
    main = numbers.kinds(case)[0]
    rounds = [numbers.values[case, name, main] for name in names]
    return [median(each) - min(each) for each in rounds], [max(each) - median(each) for each in rounds]


def _colour(name: str) -> str:
    if name in {"direct", "routed"}:
        return LIMIT
    return OURS if name.startswith("moorage") else THEIRS


def _lines(axis: Axes, numbers: Numbers, case: str) -> None:
    """Contestants here are called `NAME, PORTS`."""
    named = [name.split(", ") for name in numbers.contestants(case)]
    styles = (("moorage", "o-"), ("iptables", "s--"), ("netavark", "^:"), (NEWER.named("netavark"), "v:"))
    for peer, style in styles:
        points = sorted(
            (int(ports.replace(",", "")), _main(numbers, case, f"{name}, {ports}"))
            for name, ports in named
            if name == peer
        )
        _line(axis, peer, style, points)
    axis.set_title(f"{case}, 1/s, by published ports", loc="left")
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
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
