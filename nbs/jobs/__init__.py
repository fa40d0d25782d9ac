"""The job notebooks: each one is a parameterised, documented program, executed by `qtnb.pipelines.jobs.run_job`.

`backtest` runs a strategy over history, `live` runs it in a bounded paper session, `tearsheet` reports on a finished run.
"""
