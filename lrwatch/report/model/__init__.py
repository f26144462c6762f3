"""What a report shows, before it is drawn: curves, the timeline of events, groups of commands."""
