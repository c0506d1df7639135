"""A remote cache and remote execution: the client side of the Remote Execution API (v2).

``service.Remote`` is what the engine uses; ``settings.parse`` makes its settings. gRPC itself is
imported on first use, so a remote that is configured but not needed costs nothing.
"""

import logging
import os

# What goes wrong is said by us, in one line. gRPC's core and its Python part log to stderr.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Child processes never use gRPC: no handlers around fork, and none of their warnings.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
logging.getLogger("grpc").addHandler(logging.NullHandler())
