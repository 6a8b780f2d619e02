"""The first page: what the model costs and scores, and what can be saved."""
