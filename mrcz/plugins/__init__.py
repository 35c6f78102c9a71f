"""Optional bridges to other packages; each is imported only when asked for."""
