"""The PostgreSQL of the extra `embedded`: from a wheel, private to a data folder, reached by a unix socket only.

The files of a data folder, for the major version 18:

    postgres-18/             the database cluster, mode 0700, of the server's user
    postgres-18.log          the server's log
    postgres-18.start.lock   held exclusively while a process starts or stops the server
    postgres-18.users.lock   shared by the processes that use the server: the last one stops it
    postgres-18.server.lock  held by the server's own processes
    postgres-18.hba.conf     who may connect: users as the operating system names them, no passwords
    postgres-18.ident.conf   which users may take which roles
    socket-18/               the socket, mode 0700; a folder under /tmp if this path is too long for a socket
    runtime-18-0.6.0/        the programs, if the server's user can't reach the installed ones
"""

from service.embedded.binaries import binaries
from service.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer", "binaries"]
