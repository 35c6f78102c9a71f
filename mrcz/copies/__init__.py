"""Files rewritten in another form: streamed, read back, and only then given their name."""
