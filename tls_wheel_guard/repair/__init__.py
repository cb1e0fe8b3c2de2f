"""Changes to a shared object's bytes: planned as patches, applied only where the old bytes match."""

from tls_wheel_guard.repair.flag import plan_flag
from tls_wheel_guard.repair.patch import Patch, apply_patches

__all__ = ["Patch", "apply_patches", "plan_flag"]
