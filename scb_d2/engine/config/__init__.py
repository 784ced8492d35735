"""From a config file and overrides to a config that was checked before anything is written.

In: a path, YAML or LazyConfig, and KEY VALUE overrides. Out: a frozen config whose parts fit, or
one sentence. Import from the modules; this file stays empty so that command lines start quickly.
"""
