"""Trainings whose loss answers to the learning rate, and the game that a controller plays with them."""
