"""What normal sounds like: one file per detector; a new file registers itself."""
