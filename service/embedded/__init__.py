"""The PostgreSQL that comes along: unpacked from a wheel, private to one data folder, reached by a unix socket only.

What stands in a data folder, for the major version 18:

    postgres-18/             the database cluster, 0700, the server's user's
    postgres-18.log          what the server says
    postgres-18.start.lock   held exclusively while somebody starts or stops the server
    postgres-18.users.lock   shared by everybody who uses the server: the last user stops it
    postgres-18.server.lock  held by the server's own processes: free means that none is left
    postgres-18.hba.conf     who may connect: the operating system's word for who a user is, no passwords
    postgres-18.ident.conf   which users may take which roles
    socket-18/               the socket, 0700; a folder under /tmp where this path is too long for a socket
    runtime-18-0.6.0/        the programs, where the server's user can't reach the installed ones
"""

from service.embedded.binaries import binaries
from service.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "binaries"]
