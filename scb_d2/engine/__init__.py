"""Training and evaluation as ``train_net.py`` runs them.

In: the flags (``flags``). Out: a run in its output folder. Path of a run: ``main``, ``config/``
(load and rehearse), ``processes`` (launch), ``training/`` (the loop), ``checkpoint``,
``run_folder``. Import from the modules; this file stays empty so that command lines start quickly.
"""
