"""What can be measured and stored: a folder a study. In each: result.py what it says, measure.py, store.py its cells, job.py its run."""
