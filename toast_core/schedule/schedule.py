"""The one type that says how a model is to be pruned. Frozen, versioned, lossless in JSON; imports no torch.

A ratio is the fraction of channels dropped, in [0, 1), everywhere; `sites.py` says where in a block there is something to drop.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import NONE, Compensation
from toast_core.schedule.scores import SCORES
from toast_core.schedule.sites import SITES

VERSION = 1
MAX_INTEGER = 2**63
SELECTIONS = {
    "per_batch": "channels chosen for each batch from all of its images (the published behaviour)",
    "per_image": "channels chosen for each image on its own",
    "calibrated": "channels chosen once from calibration images: static shapes, exportable",
}
COUPLINGS = ("coupled", "q_only", "k_only", "proj_only", "average", "uncoupled")


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScheduleError(f"{where} is {value!r}, not a number; ratios are fractions dropped, in [0, 1)")
    try:
        return float(value) + 0.0  # minus zero becomes zero
    except OverflowError:
        raise ScheduleError(f"{where} is a number of more than 300 digits; ratios are fractions dropped, in [0, 1)") from None


def check_ratio(value: object, where: str) -> float:
    """Return `value` as a float in [0, 1), or raise a ScheduleError that says what to write instead."""
    ratio = _number(value, where)
    if not math.isfinite(ratio) or ratio < 0:
        raise ScheduleError(f"{where} is {ratio:g}; ratios are fractions dropped, in [0, 1): write 0 to keep every channel")
    if ratio >= 1:
        hint = f"write {ratio / 100:g} for {ratio:g} %" if 1 < ratio < 100 else "at least one channel must stay"
        raise ScheduleError(f"{where} is {ratio:g}, not below 1; ratios are fractions dropped, in [0, 1): {hint}")
    return ratio


def _integer(value: object, where: str, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < MAX_INTEGER:
        shown = repr(value) if not isinstance(value, int) or abs(value) < 10 * MAX_INTEGER else "a number of many digits"
        raise ScheduleError(f"{where} is {shown}; write a whole number of at least {minimum} and below 2**63")
    return value


def _choice(value: object, where: str, choices: Collection[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ScheduleError(f"unknown {where} {value!r}; choose from {', '.join(choices)}")


@dataclass(frozen=True)
class BlockSchedule:
    """One block's ratios dropped, each in [0, 1)."""

    qk: float = 0.0
    vo: float = 0.0
    fc1: float = 0.0
    fc2: float = 0.0

    def __post_init__(self) -> None:
        for site in SITES:
            object.__setattr__(self, site, check_ratio(getattr(self, site), f"{site} ratio"))

    @property
    def is_baseline(self) -> bool:
        """Whether the block keeps all its channels."""
        return not (self.qk or self.vo or self.fc1 or self.fc2)


@dataclass(frozen=True)
class Schedule:
    """How every block is pruned, and by which rule the kept channels are chosen.

    blocks          one BlockSchedule a block, counted through a Swin's stages
    selection       when fc1 and fc2 choose their channels, see SELECTIONS
    score           how a head dimension's weights are scored: `geometric_median` is the distance to the coordinate-wise
                    median (the reference implementation's), `weiszfeld` to the true geometric median, `l1`, `l2`; other
                    packages may add more (`toast_core/schedule/scores.py`)
    coupling        what is scored for a qk and for a vo pair: `coupled` both sides joined (paper, equation 3); `q_only`
                    query and value; `k_only` key and output; `proj_only` query and output; `average` the mean of both
                    sides' scores; `uncoupled` each side drops its own choice, an ablation that has no compact form
    multiple_of     kept counts are rounded up to a multiple of this
    seed            of the token sample that dynamic selection scores
    class_weight    weight of the class token's term in the dynamic score (reference: 2)
    token_fraction  fraction of patch tokens that dynamic selection scores; None: 0.02 for ViT, 0.20 for Swin
    compensation    what is done for the dropped channels, see `compensation.py`; calibrated selection only
    """

    blocks: tuple[BlockSchedule, ...]
    selection: str = "per_image"
    score: str = "geometric_median"
    coupling: str = "coupled"
    multiple_of: int = 1
    seed: int = 0
    class_weight: float = 2.0
    token_fraction: float | None = None
    compensation: Compensation = NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not self.blocks:
            raise ScheduleError("the schedule has no blocks; give one entry for each block of the model")
        _choice(self.selection, "selection mode", SELECTIONS)
        _choice(self.score, "score", SCORES)
        _choice(self.coupling, "coupling", COUPLINGS)
        _integer(self.multiple_of, "multiple_of", 1)
        _integer(self.seed, "seed", 0)
        weight = _number(self.class_weight, "class_weight")
        if not (math.isfinite(weight) and weight >= 0):
            raise ScheduleError(f"class_weight is {weight:g}; write a number of at least 0 (the reference uses 2)")
        object.__setattr__(self, "class_weight", weight)
        if self.token_fraction is not None:
            fraction = _number(self.token_fraction, "token_fraction")
            if not 0 < fraction <= 1:
                raise ScheduleError(f"token_fraction is {fraction:g}; write a fraction of the patches in (0, 1]")
            object.__setattr__(self, "token_fraction", fraction)
        if not self.compensation.is_none and self.selection != "calibrated":
            raise ScheduleError(f"compensation needs kept channels that never change; use selection calibrated, not {self.selection}")

    @classmethod
    def uniform(cls, blocks: int, qk: float = 0, vo: float = 0, fc1: float = 0, fc2: float = 0, **settings: Any) -> "Schedule":
        """The same ratios in each of `blocks` blocks; `settings` are the other fields."""
        return cls((BlockSchedule(qk, vo, fc1, fc2),) * _integer(blocks, "number of blocks", 1), **settings)

    @property
    def is_baseline(self) -> bool:
        """Whether every block keeps all its channels."""
        return all(block.is_baseline for block in self.blocks)

    @property
    def needs_calibration(self) -> bool:
        """Whether choosing the kept channels, or compensating for the others, takes calibration images."""
        chosen = any(block.fc1 or block.fc2 for block in self.blocks)
        return self.selection == "calibrated" and (chosen or not (self.compensation.is_none or self.is_baseline))

    def ratios(self, site: str) -> tuple[float, ...]:
        """One site's ratio in every block."""
        _choice(site, "site", SITES)
        return tuple(getattr(block, site) for block in self.blocks)

    def with_ratio(self, block: int, site: str, ratio: float) -> "Schedule":
        """A copy in which one site of one block has another ratio."""
        _choice(site, "site", SITES)
        self.check_block(block)
        changed = replace(self.blocks[block], **{site: check_ratio(ratio, f"block {block} {site} ratio")})
        return replace(self, blocks=(*self.blocks[:block], changed, *self.blocks[block + 1 :]))

    def check_block(self, block: int) -> None:
        """Raise a ScheduleError unless the schedule has this block."""
        if not 0 <= block < len(self.blocks):
            raise ScheduleError(f"block {block} does not exist; the schedule has blocks 0 to {len(self.blocks) - 1}")

    def check_length(self, blocks: int, model: str) -> None:
        """Raise a ScheduleError unless the schedule fits a model of `blocks` blocks."""
        if len(self.blocks) != blocks:
            raise ScheduleError(f"the schedule has {len(self.blocks)} blocks but {model} has {blocks}; use a schedule made for this model")

    def block_key(self, index: int) -> tuple[object, ...]:
        """What becomes of one block depends on nothing else: schedules of one model with equal keys prune it alike.

        Every field is in it, so that a new one is too. A compensated block is refitted to what the blocks before it left, so that
        their ratios count; those of other blocks never do. Where nothing is dropped, no setting matters.
        """
        self.check_block(index)
        own = self.blocks[index : index + 1] if self.compensation.is_none else self.blocks[: index + 1]
        if all(block.is_baseline for block in own):
            return self.blocks[index : index + 1]
        return own, *(getattr(self, field.name) for field in fields(self) if field.name != "blocks")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the version; compensation only where there is any, so that older digests stay what they were."""
        values = {"version": VERSION, **asdict(self), "blocks": [asdict(block) for block in self.blocks]}
        if self.compensation == NONE:
            del values["compensation"]
        return values

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal schedule."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def digest(self) -> str:
        """sha256 of the canonical JSON: equal for equal schedules, on any machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: object) -> "Schedule":
        """Read `to_dict`'s values, or an entry of the reference implementation (see `reference.py`).

        Raises:
            ScheduleError: not an object, another version, unknown or missing fields, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise ScheduleError(f"a schedule is a JSON object, not {type(values).__name__}; save one with to_json")
        if "head_sparsity" in values:
            from toast_core.schedule.reference import from_reference

            return from_reference(values)
        version = values.get("version")
        if isinstance(version, bool) or version != VERSION:
            raise ScheduleError(f"schedule version is {version!r}, this program reads {VERSION}; update the program or save it again")
        settings = {key: value for key, value in values.items() if key not in ("version", "blocks")}
        _check_fields(settings, {field.name for field in fields(cls)} - {"blocks"}, "schedule field")
        if "compensation" in settings:
            settings["compensation"] = _read_compensation(settings["compensation"])
        rows = values.get("blocks")
        if not isinstance(rows, list):
            raise ScheduleError(f"blocks is {type(rows).__name__}, not a list; give one object of ratios a block")
        return cls(tuple(_read_block(row, index) for index, row in enumerate(rows)), **settings)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Schedule":
        """Read a schedule from JSON text; see `from_dict`. Not a number (NaN) is no JSON and is refused."""
        return cls.from_dict(parse_json(text))


def parse_json(text: str | bytes) -> object:
    """Parse strict JSON (no NaN, no duplicate keys) or raise a ScheduleError with the place."""

    def refuse(constant: str) -> None:
        raise ScheduleError(f"the JSON holds {constant}, which is no number; ratios are fractions dropped, in [0, 1)")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise ScheduleError(f"the JSON gives {repeated[0]!r} twice in one object; keep one of them")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except ScheduleError:
        raise
    except (ValueError, RecursionError) as error:
        raise ScheduleError(f"not a JSON document ({error}); save a schedule with to_json or from the dashboard") from error


def _check_fields(values: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(map(str, set(values) - known))
    if unknown:
        raise ScheduleError(f"unknown {what} {unknown[0]!r}; choose from {', '.join(sorted(known))}")


def _read_compensation(values: object) -> Compensation:
    if not isinstance(values, Mapping):
        raise ScheduleError(f'compensation is {type(values).__name__}, not an object; write for example {{"ffn": "fold"}}')
    _check_fields(values, {field.name for field in fields(Compensation)}, "compensation field")
    return Compensation(**values)


def _read_block(row: object, index: int) -> BlockSchedule:
    if not isinstance(row, Mapping):
        raise ScheduleError(f'block {index} is {type(row).__name__}, not an object of ratios; write for example {{"fc2": 0.5}}')
    _check_fields(row, set(SITES), f"site in block {index}:")
    return BlockSchedule(**{site: check_ratio(ratio, f"block {index} {site} ratio") for site, ratio in row.items()})
