#!/usr/bin/python3
"""Pictures of the fields that gray_scott wrote.

    examples/view_fields.py FIRST.vtkhdf [LATER.vtkhdf ...] -o fields.png [--axis z] [--index N] [--csv FILE]

One column per file, one row per field: the slice in the middle of the grid, or the one that --axis and --index say.
The colours of a field mean the same in every column. Needs h5py and matplotlib (Debian: python3-h5py,
python3-matplotlib, which belong to /usr/bin/python3).
"""

import argparse
import csv
import pathlib
import sys

try:
    import h5py
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError as error:
    sys.exit(f"view_fields: {error}; install python3-h5py and python3-matplotlib and run it with /usr/bin/python3")

FIELDS = ("u", "v")
AXES = {"x": 2, "y": 1, "z": 0}  # x is the fastest in memory: the last dimension


class BadFile(Exception):
    pass


def load(path, axis, index):
    """The slices of u and v, the two axes they show, the slice's number, and the step (None where it is not said)."""
    try:
        with h5py.File(path, "r") as file:
            root = file["VTKHDF"]
            kind = root.attrs["Type"]
            if (kind.decode() if isinstance(kind, bytes) else str(kind)) != "ImageData":
                raise BadFile(f"{path}: not ImageData but {kind}")
            shape = root["PointData/u"].shape
            at = shape[AXES[axis]] // 2 if index is None else index
            if not 0 <= at < shape[AXES[axis]]:
                raise BadFile(f"{path}: --index {at} is outside; accepted: 0 to {shape[AXES[axis]] - 1} along {axis}")
            select = tuple(at if d == AXES[axis] else slice(None) for d in range(3))
            slices = {name: root["PointData"][name][select] for name in FIELDS}
            step = int(root["FieldData/step"][0]) if "FieldData/step" in root else None
            return slices, at, step
    except (OSError, KeyError) as error:
        raise BadFile(f"{path}: no VTKHDF file with point data u and v ({error})") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.vtkhdf")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="picture to write: .png or .svg")
    parser.add_argument("--axis", choices=sorted(AXES), default="z", help="the slice is across this axis")
    parser.add_argument("--index", type=int, help="which slice (default: the middle)")
    parser.add_argument("--csv", type=pathlib.Path, help="write the numbers behind the picture, too")
    parser.add_argument("--title", help="a line above the picture")
    arguments = parser.parse_args()
    try:
        loaded = [load(path, arguments.axis, arguments.index) for path in arguments.files]
    except BadFile as error:
        sys.exit(f"view_fields: {error}")

    # Rows of a slice run along the slower of the two axes that are left.
    across, up = {"x": ("y", "z"), "y": ("x", "z"), "z": ("x", "y")}[arguments.axis]
    columns = len(loaded)
    figure, axes = plt.subplots(2, columns, figsize=(1.2 + 3.1 * columns, 6.2), squeeze=False, layout="constrained")
    for row, name in enumerate(FIELDS):
        low = min(slices[name].min() for slices, _, _ in loaded)
        high = max(slices[name].max() for slices, _, _ in loaded)
        for column, (slices, at, step) in enumerate(loaded):
            panel = axes[row][column]
            image = panel.imshow(slices[name], origin="lower", cmap="viridis" if name == "u" else "magma",
                                 vmin=low, vmax=high, interpolation="nearest")
            when = arguments.files[column].stem if step is None else f"step {step}"
            panel.set_title(f"{name}, {when}, {arguments.axis} = {at}", fontsize=10)
            panel.set_xlabel(across)
            if column == 0:
                panel.set_ylabel(up)
        figure.colorbar(image, ax=list(axes[row]), shrink=0.9, label=f"{name} (concentration)")
    if arguments.title:
        figure.suptitle(arguments.title, fontsize=11)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(arguments.output, dpi=120)
    except ValueError as error:
        sys.exit(f"view_fields: {arguments.output}: {error}")
    if arguments.csv:
        with open(arguments.csv, "w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(["file", "step", across, up, *FIELDS])
            for path, (slices, _, step) in zip(arguments.files, loaded):
                for j in range(slices["u"].shape[0]):
                    for i in range(slices["u"].shape[1]):
                        writer.writerow([path, step, i, j, repr(float(slices["u"][j, i])),
                                         repr(float(slices["v"][j, i]))])


if __name__ == "__main__":
    main()
