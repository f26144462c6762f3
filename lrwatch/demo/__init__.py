"""`lrwatch demo`: a real, small training with the daemon beside it, compared with the same training without lrwatch."""
