"""Finished parts of a sketch in the evidence store while it runs, for itself and for pages that look on. Imports no torch.

A part is what all cells move on a few images: on a batch, or on a piece of the first one, which is cut so that there soon is something to
see. Per-batch selection looks at whole batches, and compensated cells are refitted for every part: these are not cut.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from analysis_cache.canonical import sha256_hex
from analysis_cache.key import CellIdentity, Scalar
from toast_core.studies.sensitivity.cells import Cell

PIECE_IMAGES = 8
Place = tuple[int, int | None]
"""A batch by number, and which piece of it; None: the whole batch."""


@dataclass(frozen=True)
class SketchKeys:
    """Which cells of the store hold the parts of one sketch.

    identity  what all of them share: model, weights and images
    cells     what is sketched
    shared    what details of parts and of finished cells share: draws, calibration, settings, and the task's
    """

    identity: CellIdentity
    cells: tuple[Cell, ...]
    shared: Mapping[str, Scalar]

    @classmethod
    def of_request(cls, request: Mapping[str, Any], task_details: Mapping[str, Scalar]) -> "SketchKeys":
        """Read them from the request of a sketch's analysis.

        Raises:
            KeyError, TypeError, StoreError: it is no sketch's.
        """
        identity = CellIdentity(**{field.name: request[field.name] for field in fields(CellIdentity) if field.name != "details"})
        shared = shared_details(request["draws"], request["calibration"], request["settings"], task_details)
        return cls(identity, tuple(Cell(*cell) for cell in request["cells"]), shared)

    def places(self) -> Iterator[Place]:
        """Every part in its order; of pieces there may be more than the images fill."""
        size, settings = self.identity.batch_size, json.loads(str(self.shared["settings"]))
        whole = settings.get("selection") == "per_batch" or "compensation" in settings
        pieces = 1 if whole else math.ceil(min(size, self.identity.images) / PIECE_IMAGES)
        for batch in range(math.ceil(self.identity.images / size)):
            if batch or pieces == 1:
                yield batch, None
            else:
                yield from ((batch, piece) for piece in range(pieces))

    def identity_of(self, place: Place) -> CellIdentity:
        """The cell of one part."""
        batch, piece = place
        cells = sha256_hex(json.dumps([[cell.block, cell.site, cell.ratio] for cell in self.cells]))
        details: dict[str, Scalar] = {"part": "sketch", "cells": cells, **self.shared, "batch": batch}
        return replace(self.identity, details=details if piece is None else details | {"piece": piece})


def shared_details(draws: int, calibration: str, settings: Mapping[str, Any], task_details: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What the details of a sketch's cells, finished or parts, share."""
    return {"draws": draws, "calibration": calibration, "settings": json.dumps(dict(settings), sort_keys=True), **task_details}


def is_compensated(request: Mapping[str, Any]) -> bool:
    """Whether a sketch's request refits what is kept of each cell."""
    return "compensation" in request["settings"]
