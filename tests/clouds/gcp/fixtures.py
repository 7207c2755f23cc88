"""Google Compute Engine on a loopback port."""
