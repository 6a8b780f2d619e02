"""The engine process behind the dashboard: one loaded model, measured for several pages in turns."""
