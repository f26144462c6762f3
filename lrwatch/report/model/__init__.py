"""Contents of a report before they are drawn: curves, the timeline of changes, groups of commands, a summary."""
