"""The table of directions: a part may import itself, what stands left of it in its row, and every row above.

A part is a module or folder of `toast_core`, a room of `dashboard`, or `analysis_cache`. Parts between two arrows do not know each
other. docs/architecture.md prints this table; a test compares them.
"""

DIRECTIONS = (
    ("the ground", "errors intervals version <- files machine <- registry <- schedule executors analysis_cache"),
    ("what is asked, what it costs", "cost preprocessing <- setup <- budget command models"),
    ("the method", "data <- pruning <- compensation loading <- export workbench"),
    ("what is measured", "studies <- jobs <- engine"),
    (
        "the dashboard, read",
        "dashboard.limits dashboard.navigation dashboard.owner dashboard.uploads dashboard.wording <- dashboard.engine "
        "<- dashboard.evidence",
    ),
    (
        "the dashboard, shown",
        "dashboard.session dashboard.charts <- dashboard.components dashboard.report <- dashboard.equaliser <- dashboard.pages",
    ),
    ("the dashboard, served", "dashboard.server <- dashboard.app <- dashboard.entry"),
    ("put together", "studio <- cli toast_core"),
)
_ROOMS = {"__main__": "cli"}


def floors() -> list[tuple[str, ...]]:
    """The parts from the ground up: each may import its own and those of earlier floors."""
    return [tuple(parts.split()) for _, row in DIRECTIONS for parts in row.split("<-")]


def part_of(module: str) -> str:
    """The part that a module belongs to: `toast_core.models.adapters.vit` -> `models`, `dashboard.pages.tune.page` -> `dashboard.pages`."""
    package, *names = module.split(".")
    if package == "toast_core":
        return _ROOMS.get(names[0], names[0]) if names else package
    return package if package == "analysis_cache" else ".".join([package, *(names[:1] or ["app"])])


def as_markdown() -> str:
    """The table for docs/architecture.md."""
    rows = [
        f"| {what} | {' &larr; '.join(' '.join(f'`{part}`' for part in parts.split()) for parts in row.split('<-'))} |"
        for what, row in DIRECTIONS
    ]
    return "\n".join(["| | each may import its own part, what stands left of it, and the rows above |", "|---|---|", *rows])
