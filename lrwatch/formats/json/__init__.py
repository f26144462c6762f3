"""JSON logs: a record per line (`lines`), a record behind a prefix of text (`prefixed`), whole documents (`document`)."""
