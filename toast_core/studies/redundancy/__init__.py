"""How redundant the channels of the feed-forward networks are (paper, Fig. 4)."""
