"""Tests of the dashboard and of the engine process behind it."""
