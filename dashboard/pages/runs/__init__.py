"""The Runs page: page.py, and one form a kind of job, which it finds by itself."""
