"""The engine: actions, store, sandbox. Nothing in here imports SCons.

The modules, from the bottom up:

- ``errors``, ``digest``, ``files``, ``interrupt``, ``progress``: what everything uses
- ``nodes``: files and directory trees by digest, as Remote Execution API messages
- ``store``: the content-addressed store and the action cache on disk
- ``action``: an action as pure data, and its digest
- ``fetch``, ``debian``, ``npm``: bytes from outside, locked by SHA-256
- ``sandbox``: bubblewrap command lines
- ``executor``: looks an action up, else runs it and stores what came out
- ``toolchain``: package locks become directory trees
- ``step``: what a SCons target asks of the engine, and the manifest it gets back
- ``machine``, ``yamlfile``: the descriptions people write
"""
