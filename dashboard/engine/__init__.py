"""The engine process as pages see it."""
