"""Real kernels under QEMU: the same scenarios on the real thing."""
