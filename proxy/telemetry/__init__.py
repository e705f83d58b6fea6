"""What operators' own tools read: metrics for Prometheus, spans for OpenTelemetry, log lines as JSON."""
