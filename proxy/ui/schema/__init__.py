"""The page at /schema, and the script that it is shown by."""
