"""Training-free compensation: weights refitted in closed form so that what stays stands in for what is dropped."""
