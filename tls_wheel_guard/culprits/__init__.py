"""Who brought initial-exec TLS in, and what helps: clues and data files' values in, suspects out.

``advice.trace`` is the way in. Only results are imported here: most files have no initial-exec TLS, and then nothing else is loaded.
"""

from tls_wheel_guard.culprits.result import Suspect, Traced

__all__ = ["Suspect", "Traced"]
