"""Trainings whose loss answers to the learning rate, and the loop in which a controller plays against them."""
