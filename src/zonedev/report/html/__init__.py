"""The report: one HTML file with everything in it, readable without JavaScript, better with it.

`gathered` is what it tells, `traces` its counterexamples for the viewer, `page` the file.
"""
