"""The web server: starting it, whom it answers, the application it serves."""
