"""Jobs of ring_program under foreweave-run, for the tests of this folder."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "mpi-launch" / "foreweave-run"
SKIPPED = 77   # exit status: this MPI cannot do it


def open_mpi_major():
    text = subprocess.run(["mpirun", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\b(\d+)\.\d+\.\d+", text)
    return int(found.group(1)) if found else 0


class Folder:
    """A folder in memory for stores, traces and results, gone at the end."""

    def __enter__(self):
        base = pathlib.Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else pathlib.Path(tempfile.gettempdir())
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="foreweave-recovery-", dir=base))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Job:
    """`program` (a list: the program and its arguments) under foreweave-run, started at once."""

    def __init__(self, program, ranks, options, launcher_arguments, more_environment=None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREWEAVE_")}
        environment.update({f"FOREWEAVE_{name.upper()}": str(value) for name, value in options.items()})
        environment.update(more_environment or {})
        command = [str(LAUNCHER), "-n", str(ranks), *map(str, launcher_arguments), "--", *map(str, program)]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def end(self, timeout=150):
        """(exit status, what was said); -1 for a job that hung, which is ended."""
        try:
            text, _ = self.process.communicate(timeout=timeout)
            return self.process.returncode, text
        except subprocess.TimeoutExpired:
            self.process.terminate()
            text, _ = self.process.communicate(timeout=60)
            return -1, f"hung for {timeout} s\n{text}"


def run_ring(program, ranks, result, steps, elements, pause, options, launcher_arguments, timeout=150):
    return Job([program, steps, elements, result, pause], ranks, options, launcher_arguments).end(timeout)


def digests_of(result, ranks):
    """(digests of the ranks' state, the line after them) of a result file; empty when there is none."""
    lines = result.read_text(encoding="utf-8").splitlines() if result.exists() else []
    return lines[:ranks], lines[-1] if lines else ""


def kill_hub(job_name, hub, program):
    """Sends SIGKILL to the process of a job that MPI started as number `hub`; False when it is not there."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "exe").resolve() != pathlib.Path(program).resolve():
                continue
            environment = dict(part.split(b"=", 1) for part in (entry / "environ").read_bytes().split(b"\0") if b"=" in part)
        except OSError:
            continue
        number = environment.get(b"PMIX_RANK", environment.get(b"OMPI_COMM_WORLD_RANK", b""))
        if environment.get(b"FOREWEAVE_JOB") == job_name.encode() and number == str(hub).encode():
            os.kill(int(entry.name), signal.SIGKILL)
            return True
    return False


def wait_for_version(store, job_name, version, process):
    """Until a snapshot of `version` or a later one stands in the job's host tier; False when the job ended first."""
    while process.poll() is None:
        for file in (store / job_name).glob("**/*.fwsnap"):
            found = re.match(r"r\d+-v(\d+)-", file.name)
            if found and int(found[1]) >= version:
                return True
        time.sleep(0.01)
    return False
