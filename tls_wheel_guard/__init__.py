"""tls-wheel-guard: finds native code in wheels that dlopen will refuse for want of static TLS."""
__version__ = "0.1.0"
