"""The web page of `demo`."""
