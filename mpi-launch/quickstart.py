"""The part of quickstart that builds, runs and judges; see mpi-launch/quickstart, which calls it."""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import h5py

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "quickstart"
BUILD = ROOT / "build" / "quickstart"
RANKS = 3
VICTIM = 1
TARGETS = ["foreweave", "foreweave_cli", "gray_scott", "compare_fields"]


class Failed(Exception):
    """What did not hold, in words for the one who ran it."""


class Steps:
    """What is being done, with its time: one line each."""

    def __init__(self, before):
        self.begin = time.monotonic() - before
        self.terminal = sys.stderr.isatty()

    def __call__(self, text):
        print(f"[{time.monotonic() - self.begin:4.0f} s] {text}", file=sys.stderr, flush=True)


def clean_environment():
    """The environment without what would change the job; a log level may stay."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith("FOREWEAVE_") or k in ("FOREWEAVE_LOG", "FOREWEAVE_PYTHON")}


def build(step):
    env = clean_environment()
    if shutil.which("ccache"):
        env.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
    gpu = os.path.exists("/dev/nvidiactl")
    log = ROOT / "build" / "last-quickstart-build.log"
    log.parent.mkdir(exist_ok=True)
    commands = [["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 "-DFOREWEAVE_TESTS=OFF", "-DFOREWEAVE_PERF=OFF",
                 # At -O3 GCC 12 warns of what cannot be; the tests are built with -Werror.
                 f"-DCMAKE_CXX_FLAGS={env.get('CXXFLAGS', '')} -w",
                 f"-DFOREWEAVE_CUDA={'AUTO' if gpu else 'OFF'}"],
                ["cmake", "--build", str(BUILD), "-j", str(len(os.sched_getaffinity(0))), "--target", *TARGETS]]
    step("building")
    with open(log, "w", encoding="utf-8") as out:
        for command in commands:
            # On a terminal Ninja shows its own line; elsewhere the log is enough.
            shown = step.terminal and command[1] == "--build"
            done = subprocess.run(command, cwd=ROOT, env=env, stdout=None if shown else out,
                                  stderr=None if shown else subprocess.STDOUT, check=False)
            if done.returncode:
                out.flush()
                tail = "" if shown else "\n".join(log.read_text(encoding="utf-8").splitlines()[-40:]) + "\n"
                raise Failed(f"{tail}the build failed")


class Job:
    """One run of the simulation."""

    def __init__(self, name, settings, steps, terminal):
        self.folder = OUT / name
        self.name, self.settings, self.steps, self.terminal = name, settings, steps, terminal
        self.files = self.folder / "files"
        self.store = f"/dev/shm/foreweave-{os.getuid()}"
        self.job = f"quickstart-{os.getpid()}-{name.replace('/', '-')}"

    def run(self, plain=False, recover="auto", fault=None, trace=None):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        env = clean_environment()
        env["FOREWEAVE_STORE"] = self.store
        if fault:
            env["FOREWEAVE_FAULT"] = fault
            env["FOREWEAVE_SHARED_STORE"] = str(self.files)
        command = [sys.executable, "-B", str(ROOT / "mpi-launch" / "foreweave-run"), "-n", str(RANKS), "--job", self.job, "--keep",
                   "--recover", "none" if plain else recover]
        if trace:
            command += ["--trace", str(trace)]
        if not fault:
            command += ["--quiet"]
        command += ["--", str(BUILD / "examples" / "01_gray_scott" / "gray_scott"), str(self.settings), "--steps",
                    str(self.steps), "--output", str(self.folder)]
        command += ["--plain"] if plain else []
        command += ["--progress"] if self.terminal else []
        done = subprocess.run(command, cwd=ROOT, env=env, check=False, timeout=240)
        if done.returncode:
            raise Failed(f"the run '{self.name}' ended with exit status {done.returncode}")
        self.summary = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

    def final_fields(self):
        return self.folder / f"fields_{self.steps:08d}.vtkhdf"

    def seconds(self):
        return self.summary["wall_seconds"] - self.summary["output_seconds"]

    def death(self):
        """When the fault struck, on the wall clock in ns."""
        return int((pathlib.Path(self.store) / self.job / "fault-0").read_text(encoding="ascii"))

    def forget(self):
        shutil.rmtree(pathlib.Path(self.store) / self.job, ignore_errors=True)
        shutil.rmtree(self.files, ignore_errors=True)


def same_fields(a, b):
    done = subprocess.run([str(BUILD / "examples" / "01_gray_scott" / "compare_fields"), str(a), str(b)],
                          stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    if done.returncode > 1:
        raise Failed(f"{a} and {b} cannot be compared: {done.stdout.strip()}")
    return done.returncode == 0


def column(hubs, name):
    return [value for hub in hubs for value in (hub[name][:].tolist() if name in hub else [])]


def read_trace(path, death):
    """What the trace says of the run, as the summary has it."""
    with h5py.File(path, "r") as index:
        hubs = []
        for attempt in index["attempts"].values():
            for name in attempt["hubs"]:
                try:
                    hubs.append(attempt["hubs"][name])
                except KeyError:
                    pass  # a hub that died before it wrote
        blocked = sorted(b * 1e-6 for b in column(hubs, "captures/blocked"))
        modes = [h5py.check_enum_dtype(hub["recoveries/mode"].dtype) for hub in hubs][0]
        names = {value: name for name, value in modes.items()}
        outgoing = 0
        resumed = []   # on the wall clock, in ns
        for hub in hubs:
            offset = int(hub.attrs["clock_wall_ns"]) - int(hub.attrs["clock_monotonic_ns"])
            resumed += [end + offset for end in column([hub], "recoveries/end")]
            direction = {name: value for name, value in h5py.check_enum_dtype(hub["transfers/direction"].dtype).items()}
            sent = (hub["transfers/direction"][:] == direction["outgoing"]) & hub["transfers/ok"][:].astype(bool)
            outgoing += int(hub["transfers/bytes"][:][sent].sum())
        recoveries = column(hubs, "recoveries/mode")
        if not recoveries or not blocked:
            raise Failed(f"{path} tells of no {'recovery' if blocked else 'capture'}")
        return {
            "recovery_mode": names[recoveries[-1]],
            # Numbered from 1 on; what the killed attempt recorded last may be missing from the trace.
            "versions": max(column(hubs, "commits/version"), default=0),
            "bytes_captured": sum(column(hubs, "captures/region_bytes")),
            "bytes_stored": sum(column(hubs, "captures/snapshot_bytes")),
            "bytes_sent": outgoing,
            "bytes_to_files": sum(column(hubs, "flushes/bytes")),
            "bytes_in_files": sum(column(hubs, "flushes/stored")),
            "blocked_ms_median": round(statistics.median(blocked), 4),
            "blocked_ms_max": round(blocked[-1], 4),
            "lost_steps": max(column(hubs, "recoveries/lost_steps")),
            "recovery_seconds": round((max(resumed) - death) * 1e-9, 4),
        }


def disturbed(step, settings, a, recover, folder):
    """The main job: a rank dies in the middle, and its memory with it. Returns the job and what its trace says."""
    for old in [folder / "trace.h5", folder / "report.html"]:
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / "ranks", ignore_errors=True)
    at = a.steps // 2 + 5  # half way, between two checkpoints
    job = Job((folder / "disturbed").relative_to(OUT).as_posix(), settings, a.steps, step.terminal)
    step(f"{RANKS} ranks again, and rank {VICTIM} is killed in step {at}, the memory that would survive it erased")
    try:
        job.run(recover=recover, fault=f"kill:rank={VICTIM},step={at},memory=lost", trace=folder)
        return job, read_trace(folder / "trace.h5", job.death())
    finally:
        job.forget()


def report(step, found):
    cli = BUILD / "foreweave"
    step("report and pictures")
    problems = []
    last = found["undisturbed"].final_fields()
    for what, command in (
            ("report", [str(cli), "report", str(OUT / "trace.h5"), "-o", str(OUT / "report.html")]),
            ("pictures", [sys.executable, str(ROOT / "examples" / "view_fields.py"),
                          str(found["disturbed"].folder / "fields_00000000.vtkhdf"), str(found["disturbed"].final_fields()),
                          str(last), "-o", str(OUT / "fields.png"), "--csv", str(OUT / "fields.csv")])):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240)
        if done.returncode:
            problems.append(f"{what}: {done.stdout.strip()[-500:]}")
    return problems


def show(summary, again, seconds):
    def size(n):
        for unit in ("B", "kB", "MB", "GB"):
            if n < 1000 or unit == "GB":
                return f"{n:.3g} {unit}"
            n /= 1000
    print(f"""
  fields of the killed and the undisturbed run   {'identical, byte for byte' if summary['identical'] else 'DIFFERENT'}
  recovery                                       {summary['recovery_mode'].replace('_', ' ')}, {summary['recovery_seconds']:.2f} s from death to resumed
  steps computed again                           {summary['lost_steps']}
  versions committed                             {summary['versions']}
  state captured, stored, sent to mirrors        {size(summary['bytes_captured'])}, {size(summary['bytes_stored'])}, {size(summary['bytes_sent'])}
  brought to files in the background             {size(summary['bytes_to_files'])} of snapshots, {size(summary['bytes_in_files'])} written ({summary['bytes_to_files'] / max(1, summary['bytes_in_files']):.2f} times less)
  program blocked by a capture                   median {summary['blocked_ms_median']:.2f} ms, at most {summary['blocked_ms_max']:.2f} ms
  overhead against the plain program             {summary['overhead_percent']:.1f} %""")
    if again:
        print(f"  the other way, {again['recovery_mode'].replace('_', ' '):8}                        {'identical' if again['identical'] else 'DIFFERENT'}, "
              f"{again['recovery_seconds']:.2f} s from death to resumed")
    print(f"\n  {OUT}: summary.json, trace.h5, report.html, fields.png   ({seconds:.0f} s in all)")


def main():
    p = argparse.ArgumentParser(prog="quickstart")
    p.add_argument("--began", type=float, default=0, help=argparse.SUPPRESS)
    p.add_argument("--recover", choices=["auto", "in_place", "relaunch"], default="auto")
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--size", type=int, default=128, help="cells along an edge of the grid")
    p.add_argument("--repeats", type=int, default=3, help="undisturbed runs, plain and with Foreweave, for the overhead")
    a = p.parse_args()
    if a.steps < 40 or a.size < 8 or a.repeats < 1:
        p.error("--steps from 40, --size from 8, --repeats from 1 up")
    step = Steps(a.began)
    try:
        build(step)
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "summary.json").unlink(missing_ok=True)
        settings = OUT / "settings.toml"
        settings.write_text(f"# Written by quickstart; everything else as in examples/01_gray_scott/settings.toml.\n"
                            f"[grid]\nsize = [{a.size}, {a.size}, {a.size}]\n[run]\nsteps = {a.steps}\n", encoding="utf-8")
        plain = Job("undisturbed-plain", settings, a.steps, step.terminal)
        woven = Job("undisturbed", settings, a.steps, step.terminal)
        # Turn by turn, so that what else the machine does hits both alike.
        times = {"plain": [], "woven": []}
        for i in range(a.repeats):
            step(f"{RANKS} ranks, {a.size}³ cells, {a.steps} steps: plain, then with Foreweave ({i + 1} of {a.repeats})")
            plain.run(plain=True)
            times["plain"].append(plain.seconds())
            try:
                woven.run(recover=a.recover)
            finally:
                woven.forget()
            times["woven"].append(woven.seconds())
        overhead = 100 * (statistics.median(times["woven"]) / statistics.median(times["plain"]) - 1)

        job, traced = disturbed(step, settings, a, a.recover, OUT)
        identical = same_fields(plain.final_fields(), woven.final_fields()) and same_fields(plain.final_fields(), job.final_fields())
        summary = {"identical": identical, **traced, "overhead_percent": round(overhead, 2)}
        (OUT / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        again = None
        if summary["recovery_mode"] == "in_place" and a.recover == "auto":
            other, again = disturbed(step, settings, a, "relaunch", OUT / "relaunch")
            again["identical"] = same_fields(plain.final_fields(), other.final_fields())
        problems = report(step, {"undisturbed": plain, "disturbed": job})
        show(summary, again, time.monotonic() - step.begin)
        if not identical or (again and not again["identical"]):
            problems.append("the fields differ from those of the undisturbed run")
        if a.recover != "auto" and summary["recovery_mode"] != a.recover:
            problems.append(f"recovery was {summary['recovery_mode']}, not {a.recover}")
        if problems:
            raise Failed("; ".join(problems))
    except subprocess.TimeoutExpired as e:
        print(f"quickstart: not done after {e.timeout:.0f} s: {' '.join(map(str, e.cmd))}", file=sys.stderr)
        return 1
    except (Failed, OSError) as e:
        print(f"quickstart: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
