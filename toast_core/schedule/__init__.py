"""What the user wants: schedules, their rounding, their cost and the published presets. Nothing here imports torch."""
