#!/usr/bin/env python3
"""Draws a Foreweave trace as one self-contained HTML page, and writes the numbers behind each plot as CSV.

usage: foreweave_report.py TRACE.h5 [-o report.html]

Needs h5py and matplotlib (Debian: python3-h5py, python3-matplotlib). The schema it reads is docs/trace.md.
Exit status: 0 written, 1 damaged or no trace, 2 wrong arguments, 3 not there.
"""
import argparse
import base64
import csv
import datetime
import html
import io
import os
import statistics
import sys

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

FORMAT, INDEX_FORMAT, FORMAT_VERSION = "foreweave-trace", "foreweave-trace-index", 1
COLOURS = {"captured": "#9aa5b1", "stored": "#2f6f8f", "sent": "#d98a29", "blocked": "#b5433c", "encode": "#7aa6c2",
           "commit": "#3b8b53", "flush": "#5f7d3a", "failure": "#111111", "recovery": "#7d4f9e", "incoming": "#e8c48f"}
TRANSFORM_COLOURS = ["#b8b8b8", "#7d4f9e", "#2f6f8f", "#3b8b53", "#d98a29"]


class BadTrace(Exception):
    """The file is not a trace that this script reads."""


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


class Hub:
    """What one process recorded in one attempt. Times become seconds on the wall clock, see `Run.origin`."""

    def __init__(self, root):
        if text(root.attrs.get("format", "")) != FORMAT or int(root.attrs.get("format_version", 0)) != FORMAT_VERSION:
            raise BadTrace(f"{root.file.filename}: not a {FORMAT} of version {FORMAT_VERSION}")
        self.attributes = {name: root.attrs[name] for name in root.attrs}
        self.attempt, self.hub, self.rank = (int(root.attrs[n]) for n in ("attempt", "hub", "rank"))
        self.host = text(root.attrs["host"])
        self.offset = int(root.attrs["clock_wall_ns"]) - int(root.attrs["clock_monotonic_ns"])
        self.dropped = int(root.attrs["dropped_records"])
        self.tables = {}
        for table in ("captures", "transfers", "flushes", "commits", "failures", "recoveries"):
            if table == "flushes" and table not in root:
                self.tables[table] = []   # a trace of an earlier version
                continue
            columns = {name: data[...] for name, data in root[table].items()}
            count = {len(values) for values in columns.values()}
            if len(count) != 1:
                raise BadTrace(f"{root.file.filename}: the columns of {table} differ in length")
            self.tables[table] = [dict(zip(columns, row)) for row in zip(*columns.values())]
        self.transforms = [text(name) for name in root["captures/pages_by_transform"].attrs["columns"]]
        modes = h5py.check_enum_dtype(root["recoveries/mode"].dtype)
        self.modes = {value: name for name, value in modes.items()}
        tiers = h5py.check_enum_dtype(root["flushes/tier"].dtype) if "flushes" in root else {}
        self.tiers = {value: name for name, value in tiers.items()}
        self.no_recovery = modes["none"]
        self.incoming = h5py.check_enum_dtype(root["transfers/direction"].dtype)["incoming"]

    def wall(self, monotonic):
        return int(monotonic) + self.offset

    @property
    def label(self):
        if self.rank >= 0:
            return f"rank {self.rank}" + (f" (hub {self.hub})" if self.rank != self.hub else "")
        became = sorted({int(row["rank"]) for row in self.tables["captures"]} - {-1})
        who = "spare" + "".join(f", now rank {rank}" for rank in became)
        return f"{who} (hub {self.hub})"

    def era(self, monotonic):
        """How many recoveries this process had behind it: versions may be taken again after one."""
        return sum(1 for row in self.tables["recoveries"] if row["mode"] != self.no_recovery and row["end"] <= monotonic)

    def moments(self):
        for table, columns in (("captures", ("time",)), ("transfers", ("begin", "end")), ("flushes", ("begin", "end")),
                               ("commits", ("time",)), ("failures", ("time",)), ("recoveries", ("begin", "end"))):
            for row in self.tables[table]:
                for column in columns:
                    if row[column] > 0:
                        yield self.wall(row[column])


class Run:
    def __init__(self, path):
        self.path, self.hubs, self.missing, self.damaged = path, [], [], []
        with h5py.File(path, "r") as file:
            form = text(file.attrs.get("format", ""))
            if form == INDEX_FORMAT:
                for attempt in sorted(file.get("attempts", {}), key=int):
                    hubs = file["attempts"][attempt]["hubs"]
                    for name in sorted(hubs, key=int):
                        link = hubs.get(name, getlink=True)
                        if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(path)), link.filename)):
                            try:
                                self.hubs.append(Hub(hubs[name]))
                            except (OSError, KeyError, RuntimeError):  # the others still tell what they know
                                self.damaged.append(link.filename)
                        else:
                            self.missing.append(link.filename)
            elif form == FORMAT:
                self.hubs.append(Hub(file["/"]))
            else:
                raise BadTrace(f"{path}: not a Foreweave trace")
            self.attributes = {n: file.attrs[n] for n in ("run_id", "job", "command_line", "ranks", "hubs")}
            self.options = [text(o) for o in file.attrs["options"]]
            self.version = text(file.attrs["software_version"])
        moments = [m for hub in self.hubs for m in hub.moments()]
        if not moments:
            moments = [int(h.attributes["clock_wall_ns"]) for h in self.hubs] or [0]
        self.origin, self.end = min(moments), max(moments)

    def seconds(self, hub, monotonic):
        return (hub.wall(monotonic) - self.origin) * 1e-9

    def rows(self, table):
        return [(hub, row) for hub in self.hubs for row in hub.tables[table]]


def human(count):
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"
        value /= 1024
    return ""


# ---- numbers --------------------------------------------------------------------------------------------------------

def per_version(run):
    """Sums over ranks of what each version captured, stored and sent, by (attempt, era, version), in the order taken."""
    versions = {}
    for hub, row in run.rows("captures"):
        at = versions.setdefault((hub.attempt, hub.era(row["time"]), int(row["version"])), {
            "time_s": run.seconds(hub, row["time"]), "full": True, "captured": 0, "tracked": 0, "digests": 0, "stored": 0, "sent": 0, "pages": 0,
            "dirty_pages": 0, "blocked": [], "encode": [], "transforms": [0] * len(hub.transforms)})
        at["time_s"] = min(at["time_s"], run.seconds(hub, row["time"]))
        at["full"] = at["full"] and int(row["base"]) == 0
        at["captured"] += int(row["region_bytes"])
        at["tracked"] += int(row.get("tracked_bytes", 0))   # traces of earlier versions lack it
        at["digests"] += int(row.get("digest_bytes", 0))
        at["stored"] += int(row["snapshot_bytes"])
        at["pages"] += int(row["pages"])
        at["dirty_pages"] += int(row["dirty_pages"])
        at["blocked"].append(int(row["blocked"]) * 1e-6)
        at["encode"].append(int(row["encode"]) * 1e-6)
        at["transforms"] = [a + int(b) for a, b in zip(at["transforms"], row["pages_by_transform"])]
    for hub, row in run.rows("transfers"):
        # What was sent after a recovery may be a version that was taken before it.
        for era in range(hub.era(row["begin"]), -1, -1):
            at = versions.get((hub.attempt, era, int(row["version"])))
            if at is not None:
                if row["direction"] != hub.incoming and row["ok"]:
                    at["sent"] += int(row["bytes"])
                break
    return sorted(versions.items(), key=lambda item: (item[0][:2], item[1]["time_s"]))


def totals(run, versions):
    blocked = [b for _, v in versions for b in v["blocked"]]
    stored = sum(v["stored"] for _, v in versions)
    captured = sum(v["captured"] for _, v in versions)
    recovered = sum(1 for one in recoveries(run) if one["mode"] != "none")
    sent = sum(int(r["bytes"]) for h, r in run.rows("transfers") if r["direction"] != h.incoming and r["ok"])
    return {
        "versions": len({key[2] for key, _ in versions}),
        "captured_bytes": captured, "stored_bytes": stored, "sent_bytes": sent,
        "tracked_bytes": sum(v["tracked"] for _, v in versions),
        "digest_bytes": sum(v["digests"] for _, v in versions),
        "ratio": captured / stored if stored else None,
        "blocked_ms_median": statistics.median(blocked) if blocked else None,
        "blocked_ms_max": max(blocked, default=None),
        "committed": max((int(r["version"]) for _, r in run.rows("commits")), default=0),
        "commit_ms_median": statistics.median([int(r["after_capture"]) * 1e-6 for _, r in run.rows("commits")])
        if run.rows("commits") else None,
        "failed_transfers": sum(1 for _, r in run.rows("transfers") if not r["ok"]),
        # A recovery tells of a loss even where nobody lived to say which process it was.
        "flushed_bytes": sum(int(r["bytes"]) for _, r in run.rows("flushes")),
        "flushed_written_bytes": sum(int(r["stored"]) for _, r in run.rows("flushes")),
        "failures": max(len(deaths(run)), recovered),
        "recoveries": recovered,
        "seconds": (run.end - run.origin) * 1e-9,
    }


def flushes(run):
    """What went to each tier of files: one entry a tier, summed over processes."""
    tiers = {}
    for hub, row in run.rows("flushes"):
        at = tiers.setdefault(hub.tiers[row["tier"]], {"versions": set(), "failed": 0, "passed_over": 0, "bytes": 0, "unique": 0,
                                                       "stored": 0, "seconds": 0.0})
        if row["ok"]:
            at["versions"].add(int(row["version"]))
        at["failed"] += not row["ok"]
        at["passed_over"] = max(at["passed_over"], sum(int(r["passed_over"]) for r in hub.tables["flushes"]
                                                       if r["tier"] == row["tier"]))   # all processes pass the same over
        for name in ("bytes", "unique", "stored"):
            at[name] += int(row[name])
        at["seconds"] += (int(row["end"]) - int(row["begin"])) * 1e-9
    return tiers


def deaths(run):
    """(attempt, hub) -> when it was first known to be dead. Where a whole attempt ended before anybody could write that
    down, the recovery of the next one tells."""
    known = {}
    for hub, row in run.rows("failures"):
        key = (hub.attempt, int(row["hub"]))
        known[key] = min(known.get(key, float("inf")), run.seconds(hub, row["time"]))
    for one in recoveries(run):
        attempt = one["attempt"] - (one["mode"] == "relaunch")
        if one["lost_rank"] < 0 or one["mode"] == "none":
            continue
        if any(key[0] == attempt and at <= one["end_s"] for key, at in known.items()):
            continue
        for hub in run.hubs:
            if hub.attempt == attempt and hub.rank == one["lost_rank"]:
                known[(attempt, hub.hub)] = one["begin_s"]
    return known


def recoveries(run):
    """One entry a recovery (the hubs of an attempt that went to the same version): how long, from where, by whom."""
    groups = []   # the same way to the same version at the same time is one recovery; not every process knows who died
    for hub, row in sorted(run.rows("recoveries"), key=lambda pair: pair[0].wall(pair[1]["begin"])):
        key = (hub.attempt, int(row["version"]), hub.modes[row["mode"]])
        for at in groups:
            if at["key"] == key and hub.wall(row["begin"]) <= at["end"]:
                at["members"].append((hub, row))
                at["end"] = max(at["end"], hub.wall(row["end"]))
                break
        else:
            groups.append({"key": key, "end": hub.wall(row["end"]), "members": [(hub, row)]})
    story = []
    for group in groups:
        (attempt, version, mode), members = group["key"], group["members"]
        lost = max(int(r["lost_rank"]) for _, r in members)
        begin = min(run.seconds(h, r["begin"]) for h, r in members)
        end = max(run.seconds(h, r["end"]) for h, r in members)
        story.append({"attempt": attempt, "version": version, "lost_rank": lost, "mode": mode, "begin_s": begin,
                      "end_s": end, "lost_steps": max(int(r["lost_steps"]) for _, r in members),
                      "bytes": sum(int(r["bytes"]) for _, r in members),
                      "members": [(h.label, text(r["source"]), int(r["bytes"])) for h, r in members]})
    return story


# ---- plots ----------------------------------------------------------------------------------------------------------

def style():
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
                         "axes.spines.right": False, "axes.edgecolor": "#8a8f98", "axes.labelcolor": "#333a44",
                         "xtick.color": "#555c66", "ytick.color": "#555c66", "axes.grid": True, "grid.color": "#e6e8eb",
                         "grid.linewidth": 0.6, "axes.axisbelow": True, "svg.fonttype": "none", "legend.frameon": False,
                         "svg.hashsalt": "foreweave"})


def svg_of(figure, file):
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    drawn = out.getvalue()
    return drawn[drawn.index("<svg"):]


def png_of(figure, file):
    figure.savefig(file, format="png", dpi=150)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    plt.close(figure)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}">'


def picture(figure, marks, folder, name):
    """SVG, sharp and searchable; PNG where so many marks would make it heavy. Also written to the numbers' folder."""
    file = os.path.join(folder, name)
    return svg_of(figure, file + ".svg") if marks < 4000 else png_of(figure, file + ".png")


def plot_timeline(run, folder):
    lanes = {}
    for hub in sorted(run.hubs, key=lambda h: (h.hub, h.attempt)):
        lanes.setdefault((hub.hub, hub.label), len(lanes))
    figure, axes = plt.subplots(figsize=(10, 1.3 + 0.55 * max(1, len(lanes))), layout="constrained")
    marks = 0
    least = max((run.end - run.origin) * 1e-9, 1e-9) / 800   # so that short things stay visible
    for hub in run.hubs:
        y = lanes[(hub.hub, hub.label)]

        def bars(rows, centre, height, colour, **more):
            nonlocal marks
            marks += len(rows)
            if rows:
                axes.broken_barh([(b, max(e - b, least)) for b, e in rows], (y + centre - height / 2, height),
                                 facecolors=colour, linewidth=0, **more)

        bars([(run.seconds(hub, r["begin"]), run.seconds(hub, r["end"])) for r in hub.tables["recoveries"]
              if r["begin"] > 0 and r["mode"] != hub.no_recovery], 0, 0.8, COLOURS["recovery"], alpha=0.35)
        spans = [(run.seconds(hub, r["time"]), int(r["blocked"]) * 1e-9, int(r["encode"]) * 1e-9)
                 for r in hub.tables["captures"]]
        bars([(t + b, t + b + e) for t, b, e in spans], -0.2, 0.16, COLOURS["encode"])
        bars([(t, t + b) for t, b, _ in spans], -0.2, 0.3, COLOURS["blocked"])
        for incoming, centre, colour in ((False, 0.05, COLOURS["sent"]), (True, 0.19, COLOURS["incoming"])):
            bars([(run.seconds(hub, r["begin"]), run.seconds(hub, r["end"])) for r in hub.tables["transfers"]
                  if (r["direction"] == hub.incoming) == incoming and r["ok"]], centre, 0.12, colour)
        bars([(run.seconds(hub, r["begin"]), run.seconds(hub, r["end"])) for r in hub.tables["flushes"] if r["ok"]],
             -0.34, 0.1, COLOURS["flush"])
        bad = [run.seconds(hub, r["end"]) for r in hub.tables["transfers"] if not r["ok"]]
        axes.plot(bad, [y + 0.05] * len(bad), "x", color=COLOURS["failure"], markersize=4)
        commits = [run.seconds(hub, r["time"]) for r in hub.tables["commits"]]
        axes.plot(commits, [y + 0.34] * len(commits), "|", color=COLOURS["commit"], markersize=6)
        marks += len(commits)
    for (_, dead), at in deaths(run).items():
        axes.axvline(at, color=COLOURS["failure"], linewidth=0.8, linestyle=":")
        for (hub, _), y in lanes.items():
            if hub == dead:
                axes.plot([at], [y], marker="X", color=COLOURS["failure"], markersize=9)
    axes.set_yticks(list(lanes.values()), [label for _, label in lanes])
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_xlabel("seconds")
    axes.grid(axis="y", visible=False)
    key = [Patch(color=COLOURS["blocked"], label="program blocked"), Patch(color=COLOURS["encode"], label="encoding"),
           Patch(color=COLOURS["sent"], label="sending"), Patch(color=COLOURS["incoming"], label="receiving"),
           Patch(color=COLOURS["flush"], label="bringing to files"),
           Line2D([], [], color=COLOURS["commit"], marker="|", linestyle="", label="commit"),
           Line2D([], [], color=COLOURS["failure"], marker="X", linestyle="", label="rank lost"),
           Patch(color=COLOURS["recovery"], alpha=0.35, label="recovery")]
    axes.legend(handles=key, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=8, fontsize=8, handlelength=1.2,
                columnspacing=1.2)
    return picture(figure, marks, folder, "timeline")


def version_axis(axes, versions):
    """Bars by order of capture; ticks name versions, attempts after the first are marked."""
    step = max(1, len(versions) // 24)
    axes.set_xticks(range(0, len(versions), step), [str(key[2]) for key, _ in versions[::step]])
    axes.set_xlabel("version, in the order taken")
    for i in range(1, len(versions)):
        now, before = versions[i][0][:2], versions[i - 1][0][:2]
        if now != before:
            axes.axvline(i - 0.5, color=COLOURS["recovery"], linewidth=1)
            axes.annotate(f"attempt {now[0]}" if now[0] != before[0] else "recovered", (i - 0.5, 1.015),
                          xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8,
                          color=COLOURS["recovery"])


def plot_bytes(versions, folder):
    figure, axes = plt.subplots(figsize=(10, 2.9), layout="constrained")
    at = range(len(versions))
    for shift, name in ((-0.28, "captured"), (0, "stored"), (0.28, "sent")):
        axes.bar([i + shift for i in at], [v[name] / 2**20 for _, v in versions], 0.27, color=COLOURS[name], label=name)
    axes.set_ylabel("MiB, all ranks")
    version_axis(axes, versions)
    axes.legend(ncols=3, loc="upper right", bbox_to_anchor=(1, 1.16), fontsize=8)
    return picture(figure, 3 * len(versions), folder, "bytes")


def plot_ratio(versions, folder):
    figure, axes = plt.subplots(figsize=(10, 2.4), layout="constrained")
    at = range(len(versions))
    axes.plot(at, [v["captured"] / v["stored"] if v["stored"] else float("nan") for _, v in versions], "o-",
              color=COLOURS["stored"], markersize=3.5, linewidth=1.2)
    axes.set_ylabel("captured / stored")
    axes.set_ylim(bottom=0)
    dirty = axes.twinx()
    dirty.plot(at, [100 * v["dirty_pages"] / v["pages"] if v["pages"] else 0 for _, v in versions], "s-",
               color=COLOURS["captured"], markersize=2.5, linewidth=0.9)
    dirty.set_ylabel("pages changed, %", color="#7c8793")
    dirty.set_ylim(0, 104)
    dirty.grid(visible=False)
    version_axis(axes, versions)
    return picture(figure, 2 * len(versions), folder, "ratio")


def plot_blocked(versions, folder):
    figure, axes = plt.subplots(figsize=(10, 2.6), layout="constrained")
    at = range(len(versions))
    for name, colour, label in (("encode", COLOURS["encode"], "encoding, in the background"),
                                ("blocked", COLOURS["blocked"], "program blocked")):
        low = [min(v[name]) for _, v in versions]
        high = [max(v[name]) for _, v in versions]
        axes.vlines(at, low, high, color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(at, [statistics.median(v[name]) for _, v in versions], "o", color=colour, markersize=4, label=label)
    if any(b > 0 for _, v in versions for b in v["blocked"]):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("ms a rank (median, range)")
    version_axis(axes, versions)
    axes.legend(ncols=2, loc="upper right", bbox_to_anchor=(1, 1.18), fontsize=8)
    return picture(figure, 4 * len(versions), folder, "time")


def plot_transforms(versions, names, folder):
    figure, axes = plt.subplots(figsize=(10, 2.6), layout="constrained")
    base = [0] * len(versions)
    for i, name in enumerate(names):
        counts = [v["transforms"][i] for _, v in versions]
        if any(counts):
            axes.bar(range(len(versions)), counts, 0.8, bottom=base, label=name,
                     color=TRANSFORM_COLOURS[i % len(TRANSFORM_COLOURS)])
        base = [a + b for a, b in zip(base, counts)]
    axes.set_ylabel("changed pages, all ranks")
    version_axis(axes, versions)
    if any(base):
        axes.legend(ncols=len(names), loc="upper right", bbox_to_anchor=(1, 1.18), fontsize=8)
    return picture(figure, len(names) * len(versions), folder, "transforms")


# ---- CSV ------------------------------------------------------------------------------------------------------------

def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_numbers(folder, run, versions, summary, names):
    os.makedirs(folder, exist_ok=True)

    def here(name):
        return os.path.join(folder, name)

    write_csv(here("summary.csv"), ["name", "value"], [(k, "" if v is None else v) for k, v in summary.items()])
    write_csv(here("versions.csv"),
              ["attempt", "after_recoveries", "version", "time_s", "full", "captured_bytes", "stored_bytes", "sent_bytes", "ratio", "pages",
               "dirty_pages", "blocked_ms_median", "blocked_ms_min", "blocked_ms_max", "encode_ms_median",
               "encode_ms_min", "encode_ms_max", "tracked_bytes", "digest_bytes"] + [f"pages_{n}" for n in names],
              [[a, era, n, f"{v['time_s']:.9f}", int(v["full"]), v["captured"], v["stored"], v["sent"],
                v["captured"] / v["stored"] if v["stored"] else "", v["pages"], v["dirty_pages"],
                statistics.median(v["blocked"]), min(v["blocked"]), max(v["blocked"]), statistics.median(v["encode"]),
                min(v["encode"]), max(v["encode"]), v["tracked"], v["digests"]] + v["transforms"] for (a, era, n), v in versions])
    spans = []
    for hub in run.hubs:
        who = [hub.attempt, hub.hub, hub.rank]

        def span(kind, begin, end, version="", size="", note=""):
            spans.append(who + [kind, f"{run.seconds(hub, begin):.9f}", f"{run.seconds(hub, end):.9f}", version, size, note])

        for r in hub.tables["captures"]:
            middle = int(r["time"]) + int(r["blocked"])
            span("blocked", r["time"], middle, r["version"], r["staged_bytes"])
            span("encode", middle, middle + int(r["encode"]), r["version"], r["snapshot_bytes"])
        for r in hub.tables["transfers"]:
            kind = "receive" if r["direction"] == hub.incoming else "send"
            span(kind, r["begin"], r["end"], r["version"], r["bytes"],
                 f"rank {r['rank']} hub {r['peer']}" + ("" if r["ok"] else " failed"))
        for r in hub.tables["flushes"]:
            span("flush", r["begin"], r["end"], r["version"], r["stored"],
                 f"rank {r['rank']} {hub.tiers[r['tier']]}" + ("" if r["ok"] else " failed"))
        for r in hub.tables["commits"]:
            span("commit", r["time"], r["time"], r["version"])
        for r in hub.tables["failures"]:
            span("failure", r["time"], r["time"], "", "", f"hub {r['hub']}: {text(r['reason'])}")
        for r in hub.tables["recoveries"]:
            span("recovery", r["begin"], r["end"], r["version"], r["bytes"], text(r["source"]))
    write_csv(here("timeline.csv"), ["attempt", "hub", "rank", "kind", "begin_s", "end_s", "version", "bytes", "note"],
              sorted(spans, key=lambda s: float(s[4])))


# ---- page -----------------------------------------------------------------------------------------------------------

CSS = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#222a33;background:#f6f7f8;margin:0}
main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}h1{font-size:24px;margin:0 0 2px}
h2{font-size:17px;margin:0 0 6px}section{background:#fff;border:1px solid #e3e6e9;border-radius:8px;padding:18px 20px;
margin-top:18px}.sub{color:#66707c;margin:0}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));
gap:10px;margin-top:18px}.tile{background:#fff;border:1px solid #e3e6e9;border-radius:8px;padding:12px 14px}
.tile b{display:block;font-size:21px;font-weight:600}.tile span{color:#66707c;font-size:13px}svg,img{width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-size:14px}th{text-align:left;color:#66707c;font-weight:500}
th,td{padding:4px 10px 4px 0;border-bottom:1px solid #eef0f2;vertical-align:top}td.n,th.n{text-align:right}
code{font-size:13px;background:#eef0f2;border-radius:3px;padding:1px 4px;overflow-wrap:anywhere}p{margin:6px 0}
.story{border-left:4px solid #7d4f9e;padding-left:12px}.warn{border-left:4px solid #b5433c;padding-left:12px}
details summary{cursor:pointer;color:#66707c}footer{color:#66707c;font-size:13px;margin-top:18px}
"""


def tile(value, label):
    return f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'


def table(header, rows, numeric=()):
    def cells(values, kind):
        return "".join(f'<{kind}{" class=n" if i in numeric else ""}>{html.escape(str(v))}</{kind}>'
                       for i, v in enumerate(values))
    return ("<table><thead><tr>" + cells(header, "th") + "</tr></thead><tbody>" +
            "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows) + "</tbody></table>")


def summary_tiles(summary):
    tiles = [tile(str(summary["versions"]), f"versions, committed up to {summary['committed']}"),
             tile(human(summary["captured_bytes"]), "captured"),
             tile(human(summary["stored_bytes"]),
                  "stored" + (f", {summary['ratio']:.1f} times less" if summary["ratio"] else "")),
             tile(human(summary["sent_bytes"]), "sent to partners")]
    if summary["blocked_ms_median"] is not None:
        tiles.append(tile(f"{summary['blocked_ms_median']:.2f} ms",
                          f"program blocked, median; most {summary['blocked_ms_max']:.2f} ms"))
    if summary["tracked_bytes"]:
        tiles.append(tile(human(summary["tracked_bytes"]), "of it tracked by the kernel, clean pages not read"))
    if summary["digest_bytes"]:
        tiles.append(tile(human(summary["digest_bytes"]), "of it without a base: changes found by digests"))
    tiles.append(tile(str(summary["failures"]), "processes lost" if summary["failures"] != 1 else "process lost"))
    return '<div class="tiles">' + "".join(tiles) + "</div>"


def recovery_story(run):
    parts = []
    failures = {}
    for hub, row in run.rows("failures"):
        entry = failures.setdefault((hub.attempt, int(row["hub"])), [])
        entry.append((run.seconds(hub, row["time"]), int(row["rank"]), text(row["reason"]), hub.label))
    for (_, dead), seen in sorted(failures.items(), key=lambda f: min(f[1])[0]):
        first = min(seen)
        rank = f"rank {first[1]}" if first[1] >= 0 else "a spare"
        parts.append(f'<p class="warn">At {first[0]:.3f} s hub {dead} ({rank}) was found dead, first by '
                     f'{html.escape(first[3])}: {html.escape(first[2])}.</p>')
    ways = {"in_place": "in place: the others kept running", "relaunch": "by starting the job again"}
    for one in recoveries(run):
        if one["mode"] == "none":
            continue
        lost = f"the loss of rank {one['lost_rank']}" if one["lost_rank"] >= 0 else "a loss"
        took = one["end_s"] - one["begin_s"]
        parts.append(
            f'<div class="story"><p>Recovered from {lost} {ways.get(one["mode"], one["mode"])}. The program stepped back to '
            f'version {one["version"]} and had to compute {one["lost_steps"]} steps again. From the known death to '
            f'resumed: <b>{took:.3f} s</b>; {human(one["bytes"])} restored.</p>' +
            table(["who", "state came from", "bytes"], [(w, s, human(b)) for w, s, b in one["members"]], {2}) + "</div>")
    return "".join(parts)


def page(run, versions, summary, names, numbers):
    started = datetime.datetime.fromtimestamp(run.origin * 1e-9, datetime.timezone.utc)
    hubs = [(h.attempt, h.hub, "spare" if h.rank < 0 else h.rank, h.host, len(h.tables["captures"]),
             max((int(r["version"]) for r in h.tables["captures"]), default=0),
             max((int(r["version"]) for r in h.tables["commits"]), default=0), h.dropped or "") for h in run.hubs]
    parts = [
        f'<h1>Foreweave run {html.escape(text(run.attributes["run_id"]))}</h1>',
        f'<p class="sub">job {html.escape(text(run.attributes["job"]))} · {run.attributes["ranks"]} ranks · '
        f'{started:%Y-%m-%d %H:%M:%S} UTC · {summary["seconds"]:.2f} s from first to last record</p>',
        f'<p><code>{html.escape(text(run.attributes["command_line"]))}</code></p>', summary_tiles(summary)]

    def section(title, body, note=""):
        parts.append(f"<section><h2>{title}</h2>" + (f'<p class="sub">{note}</p>' if note else "") + body + "</section>")

    story = recovery_story(run)
    if story:
        section("What was lost and how it came back", story)
    section("Timeline", plot_timeline(run, numbers),
            "Each lane is one process. Red: the program stood still while its state was taken; everything else runs beside it.")
    if versions:
        section("Bytes of each version", plot_bytes(versions, numbers),
                "Captured: the protected memory. Stored: the snapshot, as a delta where there is a base. Sent: to the partners.")
        section("Ratio", plot_ratio(versions, numbers), "How many times smaller the snapshot is than the memory, and how much of "
                                               "the memory had changed.")
        section("Time", plot_blocked(versions, numbers))
        section("Pages by transform", plot_transforms(versions, names, numbers),
                "Which transform the codec chose for each changed page.")
    tiers = flushes(run)
    if tiers:
        section("Brought to files", table(
            ["tier", "versions", "newest", "passed over", "failed", "snapshots", "new contents", "written", "ratio", "seconds"],
            [(name, len(t["versions"]), max(t["versions"], default=0), t["passed_over"], t["failed"], human(t["bytes"]),
              human(t["unique"]), human(t["stored"]), f"{t['bytes'] / t['stored']:.2f}" if t["stored"] else "",
              f"{t['seconds']:.2f}") for name, t in sorted(tiers.items())], set(range(1, 10))),
            "In the background. New contents: what the tier did not have. Written: that, archived where the tier is. Passed over: "
            "versions that were due and did not go, because files are slower than captures.")
    if summary["failed_transfers"]:
        section("Transfers that failed", f'<p class="warn">{summary["failed_transfers"]} transfers did not arrive whole; '
                                         "each was sent again or its receiver was gone.</p>")
    if run.missing:
        section("Missing", '<p class="warn">No file of: ' + html.escape(", ".join(run.missing)) + "</p>")
    if run.damaged:
        section("Damaged", '<p class="warn">Cannot be read: ' + html.escape(", ".join(run.damaged)) + "</p>")
    section("Processes", table(["attempt", "hub", "rank", "host", "captures", "newest", "committed", "dropped records"],
                               hubs, {0, 1, 4, 5, 6}))
    section("Options", "<details><summary>effective options</summary>" + table(
        ["option", "value"], [o.split("=", 1) for o in run.options]) + "</details>")
    parts.append(f"<footer>Drawn from <code>{html.escape(run.path)}</code> (Foreweave {html.escape(run.version)}). "
                 f"The numbers behind each picture, and the pictures: <code>{html.escape(os.path.basename(numbers))}/</code></footer>")
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<title>Foreweave run {html.escape(text(run.attributes["run_id"]))}</title><style>{CSS}</style><main>' +
            "".join(parts) + "</main></html>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trace")
    parser.add_argument("-o", "--output", default="report.html")
    arguments = parser.parse_args()
    if not os.path.exists(arguments.trace):
        print(f"{arguments.trace}: there is no such file", file=sys.stderr)
        return 3
    try:
        run = Run(arguments.trace)
    except (BadTrace, OSError, KeyError) as problem:
        print(f"{arguments.trace}: cannot be read as a trace: {problem}", file=sys.stderr)
        return 1
    if os.path.isdir(arguments.output):
        print(f"{arguments.output}: is a folder; the page is a file", file=sys.stderr)
        return 4
    style()
    versions = per_version(run)
    summary = totals(run, versions)
    names = run.hubs[0].transforms if run.hubs else []
    numbers = os.path.splitext(arguments.output)[0] + "-data"
    try:
        write_numbers(numbers, run, versions, summary, names)
        temporary = arguments.output + ".part"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(page(run, versions, summary, names, numbers))
        os.replace(temporary, arguments.output)
    except OSError as problem:
        print(f"{arguments.output}: cannot be written: {problem}", file=sys.stderr)
        return 4
    print(f"{arguments.output}, {numbers}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
