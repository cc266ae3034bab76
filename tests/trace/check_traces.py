#!/usr/bin/env python3
"""Opens trace files with stock h5py and checks every row of what recorder_kill_test writes into them.

usage: check_traces.py FILE=ROWS...    each file must hold at least ROWS rows, all of them right
"""
import sys

import h5py
import numpy as np


def check(path, least):
    with h5py.File(path, "r") as f:
        assert f.attrs["format"] == "foreweave-trace", "format"
        assert f.attrs["dropped_records"] == 0, "dropped"
        for table in f.values():
            lengths = {name: len(column[...]) for name, column in table.items()}   # reads everything
            assert len(set(lengths.values())) == 1, f"{table.name}: columns of unlike length {lengths}"
        version = f["captures/version"][...]
        rows = len(version)
        assert rows >= least, f"{rows} rows, {least} were drained"
        expected = np.arange(1, rows + 1, dtype=np.uint64)
        np.testing.assert_array_equal(version, expected)
        np.testing.assert_array_equal(f["captures/snapshot_bytes"][...], expected * np.uint64(2654435761))
        np.testing.assert_array_equal(f["captures/pages_by_transform"][...][:, 4], expected * np.uint64(7))
        reasons = f["failures/reason"][...]
        hubs = f["failures/hub"][...]
        for hub, reason in zip(hubs, reasons):
            assert reason.decode() == f"reason {hub}", reason
    return rows


bad = 0
total = 0
for argument in sys.argv[1:]:
    path, _, least = argument.rpartition("=")
    try:
        total += check(path, int(least))
    except Exception as problem:   # whatever h5py raises counts as unreadable
        bad += 1
        print(f"{path}: {type(problem).__name__}: {problem}")
print(f"{len(sys.argv) - 1} files, {total} rows, {bad} bad")
sys.exit(1 if bad else 0)
