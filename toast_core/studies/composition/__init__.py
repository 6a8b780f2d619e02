"""Whether a schedule's accuracy depends on which images share a batch."""
