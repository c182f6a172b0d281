"""What an agent leaves when a successor takes over: its listeners, and connections that end in their own time."""

from __future__ import annotations

from moorage.control.plane import Plane
from moorage.inheritance import Inheritance, Named


class Estate:
    """Outlives the tree of actors. Until `retire`, the data plane goes on as before."""

    def __init__(self, plane: Plane, inheritance: Inheritance) -> None:
        """Hold what `plane` carries, and what the actors left in `inheritance`."""
        self._plane = plane
        self._left = inheritance.left
        self._gateway = inheritance.gateway

    @property
    def sockets(self) -> list[Named]:
        """The listening sockets, still this process's own."""
        listeners = [
            Named(left.name, each) for left in self._left for each in left.sockets if each.fileno() >= 0
        ]
        return listeners if self._gateway is None else [*listeners, self._gateway]

    @property
    def connections(self) -> int:
        """How many connections are left."""
        return self._plane.connections()

    def copies(self) -> list[Named]:
        """The same sockets, for another agent in this process."""
        return [Named(each.name, each.socket.dup()) for each in self.sockets]

    def retire(self) -> None:
        """Close the listeners of this process; connections go on."""
        self._plane.retire()
        if self._gateway is not None:
            self._gateway.socket.close()

    def disconnect(self, name: str) -> None:
        """End the connections of the proxy `name`."""
        for left in self._left:
            if left.name == name:
                left.plane.stop(left.token)

    def close(self) -> None:
        """End everything."""
        self.retire()
        self._plane.close()
