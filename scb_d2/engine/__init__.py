"""Training: configuration loading, trainers, evaluators, devices and processes.

Import from the modules, for example ``scb_d2.engine.training.trainer.Trainer`` and
``scb_d2.engine.config.load.load_config``; this file stays empty so that command lines start
quickly.
"""
