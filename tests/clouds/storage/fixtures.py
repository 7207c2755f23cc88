"""Google Cloud Storage on a loopback port."""
