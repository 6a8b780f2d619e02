"""How large a file may be that a visitor brings, in MiB. The web server refuses what is larger than the largest of these."""

MAX_BUNDLE_MB = 100  # an evidence bundle
MAX_SCHEDULE_MB = 1
