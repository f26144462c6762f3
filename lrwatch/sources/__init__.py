"""Files: found, followed while they grow, and read. This room touches the world and decides nothing about meaning."""
