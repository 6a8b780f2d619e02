"""Dashboards in a process of their own, for tests with a browser."""

LAUNCH = (
    "import sys; from dashboard.server.launch import launch; from toast_core.setup import Setup\n"
    "sys.exit(launch(Setup.from_json(sys.argv[1]), port=int(sys.argv[2]) if len(sys.argv) > 2 else None, headless=True))"
)
