"""The equaliser: one bar for every site of every block, dragged in the browser. Its tables are computed here, its page part is plain JS."""
