"""Training frameworks, one file each, built on `_base`.

Their public names are `lrwatch.keras`, `lrwatch.torch` and so on: `lrwatch.__init__` resolves them to the files here.
"""
