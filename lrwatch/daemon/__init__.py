"""The wiring: wake, read, feed, act, publish. Everything that decides is in `core`, everything that touches is in an edge."""
