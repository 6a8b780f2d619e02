"""Which tensors a model was not given while somebody else loaded its weights: timm keeps the list to itself."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle


@contextmanager
def watch_missing() -> Iterator[list[str]]:
    """Watch the models that this thread builds: the list names the tensors that the last `load_state_dict` of the largest lacked.

    It is empty where nothing was lacking, or where weights were put in without `load_state_dict`. No hook stays on the models.
    """
    thread, found = threading.get_ident(), list[str]()
    handles: list[RemovableHandle] = []
    watched: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def loaded(_: nn.Module, result: Any) -> None:
        # called for every part, the model last; all of them share one list
        found[:] = result.missing_keys

    def registered(module: nn.Module, name: str, child: nn.Module | None) -> None:
        if threading.get_ident() == thread and module not in watched:
            watched.add(module)
            handles.append(module.register_load_state_dict_post_hook(loaded))

    watching = register_module_module_registration_hook(registered)
    try:
        yield found
    finally:
        watching.remove()
        for handle in handles:
            handle.remove()
