"""Kill a piece of work at random moments, as `kill -9` does, and let it go on afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable


def killed_and_resumed(
    work: Callable[[], object],
    kills: int,
    longest: float,
    seed: int = 0,
    check: Callable[[], object] = lambda: None,
) -> int:
    """Run `work` in forked processes, kill as many as `kills` of them at random moments, then let one finish.

    Args:
        work: goes on where the last process stopped.
        kills: at most so many.
        longest: seconds after which the last of them is killed at the latest; the first ones sooner, so that some
            are killed on a machine that has become faster meanwhile.
        seed: of the moments.
        check: called after each kill, with what must hold then.

    Returns:
        How many were killed before they ended.
    """
    killed = 0
    generator = random.Random(seed)
    for number in range(kills):
        process = _forked(work)
        time.sleep(generator.uniform(0.02, longest * (number + 1) / kills))
        os.kill(process, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(process, 0)[1])
        check()
    assert os.waitpid(_forked(work), 0)[1] == 0, "the last run failed"
    return killed


def _forked(work: Callable[[], object]) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return process
