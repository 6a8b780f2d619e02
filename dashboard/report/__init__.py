"""Reports of stored analyses for people who were not there: one page that needs nothing else, on screen, on paper and as PDF."""
