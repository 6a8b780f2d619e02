"""What a browser session holds: the schedule in hand, its history, drafts and the address."""
