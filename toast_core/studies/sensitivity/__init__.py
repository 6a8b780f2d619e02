"""What pruning one site of one block costs, for a grid of cells (paper, Fig. 5)."""
