"""The sites of a block: what a schedule may drop there. The one list of them, with what the code asks about each.

    qk    dimensions of every head that leave the query and key projections together
    vo    dimensions of every head that leave the value and output projections together
    fc1   input channels of the feed-forward network, dropped from the block's residual stream as well
    fc2   hidden units of the feed-forward network

(Method: paper, section 3.) Imports no torch.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What is ranked at a site: the dimensions of every head, by weights, or channels, by activations."""

    HEADS = "heads"
    CHANNELS = "channels"


@dataclass(frozen=True)
class Site:
    """One site.

    name   in schedules, cells and options
    label  for people: what is dropped
    width  the field of a BlockShape that says among how many it is chosen
    kind   what is ranked
    pair   the name of both sites of its half of the block, whose costs and times depend on each other
    """

    name: str
    label: str
    width: str
    kind: Kind
    pair: str


REGISTRY = (
    Site("qk", "query and key dimensions of every head", "head_dim", Kind.HEADS, "qk+vo"),
    Site("vo", "value and output dimensions of every head", "head_dim", Kind.HEADS, "qk+vo"),
    Site("fc1", "input channels of the feed-forward network", "width", Kind.CHANNELS, "fc1+fc2"),
    Site("fc2", "hidden units of the feed-forward network", "hidden", Kind.CHANNELS, "fc1+fc2"),
)
BY_NAME = {site.name: site for site in REGISTRY}
SITES = tuple(BY_NAME)
HEAD_SITES = tuple(site.name for site in REGISTRY if site.kind is Kind.HEADS)
CHANNEL_SITES = tuple(site.name for site in REGISTRY if site.kind is Kind.CHANNELS)
PAIRS = {pair: tuple(site.name for site in REGISTRY if site.pair == pair) for pair in dict.fromkeys(site.pair for site in REGISTRY)}
