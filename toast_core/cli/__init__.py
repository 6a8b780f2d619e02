"""The command line: a file a command, put together in app.py. The one place that may import everything."""
