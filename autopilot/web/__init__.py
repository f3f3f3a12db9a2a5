"""SERVES: what an HTTP client sees."""
