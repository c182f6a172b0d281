"""Published TCP ports on loopback by programs of the kernel's that lead a socket to the container as it connects."""
