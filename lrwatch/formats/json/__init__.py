"""JSON logs: a record per line (`lines`), a record behind a text prefix (`prefixed`), whole documents (`document`)."""
