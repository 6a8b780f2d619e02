"""What ToaSt is: importance scores, the plan they lead to, and the one forward that executes it."""
