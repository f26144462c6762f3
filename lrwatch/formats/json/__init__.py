"""JSON logs: a record a line, a record behind a prefix of text, and whole documents."""
