"""The pages: a file, or a folder with a page.py, each; see dashboard.navigation for the list."""
