"""What a model is for, and therefore what it says of an image: a file a task, the interface in base.py, the list in registry.py."""
