"""``dataclass``, ``field``, ``fields`` and ``replace`` as in the standard library, for a program whose start counts.

``dataclasses`` compiles the source of six methods for each class when its module is imported, and imports ``inspect`` to do it: for the seventy
classes of one ``check`` that was half of the time of a small wheel. Here the methods are closures over the fields. What asks the standard
library about such a class (``dataclasses.fields``, ``replace``, ``asdict``, ``inspect.signature``) gets its usual answers.
"""

TYPE_CHECKING = False  # typing itself takes as long as ten of these classes
if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, replace
else:
    from tls_wheel_guard.records.closures import dataclass, field, fields, replace

__all__ = ["dataclass", "field", "fields", "replace"]
