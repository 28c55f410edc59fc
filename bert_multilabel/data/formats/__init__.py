"""The formats of files, one module each; `registry` tries them in order.

A container says how bytes become rows; it has `recognizes(sample, spec)`, which returns the reason or None, and
`read(sample, spec)`, which returns a `Reader`. An export says what the rows of an annotation tool mean; it has a
`NAME`, `recognizes(rows)`, which gets the first rows of the file, and `read(row, spec)`, which turns one row into rows
with the columns `text` (or those of the data in the tool), `labels` and perhaps `id`: none if the tool marks it as not
to be used, one per annotator otherwise. It may have `prepare(rows, spec)`, which returns the spec for `read`, and
raises a DataError if the first rows show that another option is needed; and `LABEL_COLUMNS`, its own columns of
labels: if another column is named, the rows are plain.
"""
