"""Parts of ``utils/benchmark.py``: who takes part, on what, how it is timed, what is asked.

The controlling process (`benchmark`, `measure`, `extras`, `bars`, `report`) needs nothing but
the standard library. Pixels are only touched in processes of their own (`worker`, `probes`,
`data`, `plots`), which run in the environment made by ``--make-environment``.
"""
