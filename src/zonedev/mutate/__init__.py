"""Why is this line here?  Specifications with one line changed, and what of the catalogue notices.

`mutants` says what is changed, `weak` what atomic operations become, `switch` lowers a
scenario with all of them at once, `patched` makes a design of one, and `campaign` runs them.
"""
