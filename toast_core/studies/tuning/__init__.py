"""The schedule that meets a budget with the least damage, measured on calibration images."""
