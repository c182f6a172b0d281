"""The data plane: the bytes of published ports, in user space on one thread, without actors."""
