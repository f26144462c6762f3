"""Simulated trainings whose loss responds to the learning rate, and the loop that runs a controller on them."""
