"""Monitoring over HTTP: metrics for Prometheus, health checks, and the status page."""
