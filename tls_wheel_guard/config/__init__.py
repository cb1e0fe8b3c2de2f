"""Settings: command line > ``TLS_WHEEL_GUARD_*`` > ``[tool.tls-wheel-guard]`` in pyproject.toml > default."""
