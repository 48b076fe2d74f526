from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pulmoscope.training.tune.processes import Died, run_jobs


def square_or_die(number: int) -> tuple[int, int]:
    if number < 0:
        os._exit(3)
    return number * number, os.getpid()


def tell_and_hang(_: int) -> None:
    sys.stdout.write("hanging\n")
    sys.stdout.flush()
    signal.pause()


def test_a_dead_process_costs_its_own_job_only() -> None:
    found = dict(run_jobs(square_or_die, [1, -1, 2, 3, 4], processes=2))
    assert set(found) == {1, -1, 2, 3, 4}
    died = found.pop(-1)
    assert isinstance(died, Died)
    assert str(died) == "the process ended with code 3"
    answers = {job: answer for job, answer in found.items() if not isinstance(answer, Died)}
    assert {job: answer[0] for job, answer in answers.items()} == {1: 1, 2: 4, 3: 9, 4: 16}
    pids = Counter(answer[1] for answer in answers.values())
    assert os.getpid() not in pids
    assert len(pids) <= 3  # processes live on from job to job: two, and one in place of the dead


def test_no_process_outlives_a_killed_parent() -> None:
    script = (
        "import test_training_processes as own\n"
        "if __name__ == '__main__':\n"
        "    list(own.run_jobs(own.tell_and_hang, [1, 2], processes=2))\n"
    )
    folder = Path(__file__).parent
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(folder)},
    ) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == [b"hanging\n"] * 2
        parent.kill()
        # The children hold the pipe open as long as they live.
        assert parent.stdout.read() == b""
