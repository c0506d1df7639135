"""The engine: actions, store, sandbox. Nothing in here imports SCons.

The modules, from the bottom up:

- ``errors``, ``digest``, ``files``, ``space``, ``memory``, ``interrupt``, ``progress``,
  ``summary``: what everything uses
- ``nodes``: files and directory trees by digest, as Remote Execution API messages
- ``store``: the content-addressed store and the action cache on disk
- ``integrity``: artifacts are read before they are used
- ``action``: an action as pure data, and its digest
- ``registries``, ``fetch``: bytes from outside, locked by SHA-256
- ``treebuilder``, ``toolchain``, ``relock``: package locks, and directory trees made from them
- ``sandbox``: bubblewrap command lines
- ``executor``: looks an action up, else runs it and stores what came out
- ``step``: what a SCons target asks of the engine, and the manifest it gets back
- ``config``, ``engine``: settings, and an engine made from them
- ``yamlfile``, ``sources``, ``machine``: the descriptions people write
- ``server``: the web server of ``serve`` and ``verify``
"""
