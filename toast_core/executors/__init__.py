"""Where work runs: in this process, or on Ray actors. Knows nothing of what the work is; imports no torch.

base.py         what work is, and what an executor does with it
local.py        in this process, one task after the other
choose.py       reading `local | ray[:HOST:PORT]`
queueing.py     which task a free worker takes next
ray_workers.py  Ray actors that hold the work; the one file that imports Ray
connecting.py   reaching or starting Ray, and saying in one line why not
"""

from toast_core.executors.base import Executor, Work
from toast_core.executors.choose import open_executor
from toast_core.executors.local import LOCAL, Local

__all__ = ["LOCAL", "Executor", "Local", "Work", "open_executor"]
