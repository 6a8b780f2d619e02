"""How PyTorch's CPU threads wait for each other: asleep, not spinning. Imports no torch, and must be asked for before torch is loaded."""

import os


def wait_asleep() -> None:
    """Let OpenMP threads sleep while they wait, unless the user's OMP_WAIT_POLICY says otherwise.

    Spinning threads starve each other as soon as another program wants a core: a fit then takes several times as long
    (`python benchmarks/waiting.py`).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
