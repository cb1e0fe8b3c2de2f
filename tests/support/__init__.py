"""What tests share: builders, toolchains, other systems' runtimes, truth."""
