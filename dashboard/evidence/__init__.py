"""What is stored about the dashboard's model, found and read."""
