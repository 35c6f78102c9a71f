"""Other programs judge our files, and we read theirs. Not part of the installed tests.

Each judge lives in an environment of its own, which `.ci/run` makes; the variable of its
fixture (see conftest.py) names that environment's Python. A judge that is missing is a
failure, not a skip.
"""
