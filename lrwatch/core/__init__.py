"""What decides: pure, so that a decision can be re-computed from literals; no clock, file, thread or chance."""
