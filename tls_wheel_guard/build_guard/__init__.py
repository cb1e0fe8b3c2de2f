"""The guard inside a build: what the plugin, the backend and ``build --`` share."""
