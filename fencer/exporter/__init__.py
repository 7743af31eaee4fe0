"""halvm-exporter's own adapters: files in, HTTP out."""
