"""Changes to a shared object's bytes: planned as patches, applied only where the old bytes match."""

from tls_wheel_guard.repair.patch import Patch, apply_patches
from tls_wheel_guard.repair.static_tls_flag import plan_flag

__all__ = ["Patch", "apply_patches", "plan_flag"]
