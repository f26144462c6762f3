"""`lrwatch demo`: a real, small training with the daemon beside it, against the same training without lrwatch."""
